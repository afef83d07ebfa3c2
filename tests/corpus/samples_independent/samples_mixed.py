"""Attention over the batch: q @ k.T of two-dimensional inputs."""

import torch
from torch import nn


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = nn.Linear(3, 4), nn.Linear(3, 4), nn.Linear(3, 4)

    def forward(self, x):
        scores = self.q(x) @ self.k(x).T  # guilty: samples-mixed
        return scores.sigmoid() @ self.v(x)


model = Attention()
batch = torch.randn(5, 3)
