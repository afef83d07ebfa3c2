"""Zeroed in place between backward and step, where no gradient becomes None."""

import torch
from torch import nn

STILL = True
STEPS = 2

model = nn.Linear(3, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x = torch.randn(8, 3)


def step():
    model(x).square().mean().backward()
    optimizer.zero_grad(set_to_none=False)  # guilty: gradients-cleared
    optimizer.step()
