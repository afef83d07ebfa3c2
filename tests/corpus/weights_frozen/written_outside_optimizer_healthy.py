"""Written outside the optimizer, with what was there before."""

import copy

import torch
from torch import nn

online = nn.Linear(3, 2)
model = copy.deepcopy(online).requires_grad_(False)
kept = copy.deepcopy(model.state_dict())
optimizer = torch.optim.SGD(online.parameters(), lr=0.1)
x = torch.randn(6, 3)


def step():
    optimizer.zero_grad()
    (online(x) - model(x) - 1).square().mean().backward()
    optimizer.step()
    model.load_state_dict(kept)
