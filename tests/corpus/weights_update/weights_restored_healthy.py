"""Averaged weights are swapped in for an evaluation, and swapped out again."""

import copy

import torch
from torch import nn

model = nn.Linear(3, 1)
average = copy.deepcopy(model.state_dict())
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x = torch.randn(6, 3)


def step():
    optimizer.zero_grad()
    model(x).square().mean().backward()
    optimizer.step()
    present = copy.deepcopy(model.state_dict())
    model.load_state_dict(average)
    with torch.no_grad():
        model(x)
    model.load_state_dict(present)
