"""A bias far below zero before a rectifier: no unit ever fires."""

import torch
from torch import nn

FROZEN = ["2.*"]

model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
with torch.no_grad():
    model[0].bias.fill_(-100.0)  # guilty: zero-gradient
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x = torch.randn(4, 3)


def step():
    optimizer.zero_grad()
    (model(x) - 1).square().sum().backward()
    optimizer.step()
