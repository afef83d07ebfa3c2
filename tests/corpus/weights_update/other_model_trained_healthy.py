"""A learner and its slowly following copy."""

import copy

import torch
from torch import nn

model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
target = copy.deepcopy(model).requires_grad_(False)
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
x = torch.randn(6, 3)


def step():
    optimizer.zero_grad()
    (model(x) - target(x) - 1).square().mean().backward()
    optimizer.step()
    with torch.no_grad():
        for slow, fast in zip(target.parameters(), model.parameters(), strict=True):
            slow.lerp_(fast, 0.1)
