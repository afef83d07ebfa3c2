"""Inputs are centred with the mean of each sample."""

import torch
from torch import nn


class Centred(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x):
        return self.layer(x - x.mean(1, keepdim=True))


model = Centred()
batch = torch.randn(5, 3)
