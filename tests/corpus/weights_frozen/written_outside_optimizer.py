"""A target network is followed too early: it should stand still until the tenth call."""

import copy

import torch
from torch import nn

online = nn.Linear(3, 2)
model = copy.deepcopy(online).requires_grad_(False)
optimizer = torch.optim.SGD(online.parameters(), lr=0.1)
x = torch.randn(6, 3)


def step():
    optimizer.zero_grad()
    (online(x) - model(x) - 1).square().mean().backward()
    optimizer.step()
    for slow, fast in zip(model.parameters(), online.parameters(), strict=True):
        slow.data.lerp_(fast.data, 0.01)  # guilty: written-outside-optimizer
