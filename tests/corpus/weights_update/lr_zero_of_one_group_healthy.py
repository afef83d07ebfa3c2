"""A group at rate 0, and the test says so."""

import torch
from torch import nn

FROZEN = ["0.*"]

model = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 1))
groups = [{"params": layer.parameters(), "lr": 0.1 * place} for place, layer in enumerate([model[0], model[2]])]
optimizer = torch.optim.Adam(groups, lr=0.1)
x = torch.randn(4, 3)


def step():
    optimizer.zero_grad()
    model(x).square().mean().backward()
    optimizer.step()
