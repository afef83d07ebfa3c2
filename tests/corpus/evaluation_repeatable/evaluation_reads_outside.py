"""The iterator over the data was made once, and goes on with each evaluation."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
x, y = torch.randn(12, 4), torch.randint(0, 3, (12,))

batches = iter(x.split(2))


def evaluate():
    return model(next(batches)).mean().item()  # guilty: evaluation-reads-outside
