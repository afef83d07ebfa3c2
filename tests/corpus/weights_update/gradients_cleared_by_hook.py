"""A hook that is meant to drop NaN drops everything."""

import torch
from torch import nn

STILL = True

model = nn.Linear(3, 1)
for parameter in model.parameters():
    parameter.register_hook(lambda grad: torch.where(grad.isfinite(), 0.0, grad))  # guilty: gradients-cleared
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x = torch.randn(8, 3)


def step():
    optimizer.zero_grad()
    model(x).square().mean().backward()
    optimizer.step()
