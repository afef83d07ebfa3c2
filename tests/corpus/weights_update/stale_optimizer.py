"""The output layer is replaced for a new number of classes; the optimizer keeps the old one."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 10))
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
model[2] = nn.Linear(3, 2)  # guilty: stale-optimizer
x = torch.randn(4, 3)


def step():
    optimizer.zero_grad()
    model(x).square().mean().backward()
    optimizer.step()
