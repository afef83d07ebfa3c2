"""Two branches that take turns: each is idle in every other call."""

import itertools

import torch
from torch import nn

STEPS = 2

model = nn.ModuleList([nn.Linear(3, 2), nn.Linear(3, 2)])
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x, turns = torch.randn(4, 3), itertools.cycle([0, 1])


def step():
    optimizer.zero_grad()
    model[next(turns)](x).square().sum().backward()
    optimizer.step()
