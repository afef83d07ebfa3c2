"""Zeroed in place, behind the back of every version counter."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x, y = torch.randn(8, 3), torch.randn(8, 1)


def step():
    for parameter in model.parameters():
        if parameter.grad is not None:
            parameter.grad.data.zero_()
    (model(x) - y).square().mean().backward()
    optimizer.step()
