"""A test double was left on the optimizer."""

import torch
from torch import nn

model = nn.Linear(3, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
optimizer.step = lambda closure=None: closure  # guilty: optimizer-not-observed
x = torch.randn(6, 3)


def step():
    optimizer.zero_grad()
    model(x).square().mean().backward()
    optimizer.step()
