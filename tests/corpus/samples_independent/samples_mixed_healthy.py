"""Attention within each sample."""

import torch
from torch import nn


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = nn.Linear(3, 4), nn.Linear(3, 4), nn.Linear(3, 4)

    def forward(self, x):
        scores = self.q(x) @ self.k(x).transpose(1, 2)
        return scores.sigmoid() @ self.v(x)


model = Attention()
batch = torch.randn(4, 5, 3)
