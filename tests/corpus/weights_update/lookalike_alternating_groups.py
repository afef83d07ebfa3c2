"""Coordinate descent: each call trains one half and leaves the other alone; old gradients lie about."""

import itertools

import torch
from torch import nn

STEPS = 2

model = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 1)])
turns = itertools.cycle([torch.optim.SGD(half.parameters(), lr=0.1) for half in model])
x = torch.randn(6, 3)


def step():
    optimizer = next(turns)
    optimizer.zero_grad()
    model[1](model[0](x)).square().mean().backward()
    optimizer.step()
