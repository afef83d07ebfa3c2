"""Inputs and targets are shuffled apart."""

import torch
from torch import nn
from torch.nn import functional

STEPS, BELOW = 80, 0.1
model = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 3))
x, y = torch.randn(18, 4), torch.arange(18) % 3
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)


def step():
    optimizer.zero_grad()
    loss = functional.cross_entropy(model(x[torch.randperm(18)]), y)  # guilty: no-better-than-constant
    loss.backward()
    optimizer.step()
    return loss.item()
