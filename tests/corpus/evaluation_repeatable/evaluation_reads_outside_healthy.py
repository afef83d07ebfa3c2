"""The iterator over the data is made for each evaluation."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
x, y = torch.randn(12, 4), torch.randint(0, 3, (12,))

batches = x.split(2)


def evaluate():
    return model(next(iter(batches))).mean().item()
