"""Delayed gradients: each call first applies those of the call before."""

import torch
from torch import nn

STEPS = 2

model = nn.Linear(3, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x = torch.randn(4, 3)


def step():
    optimizer.step()
    optimizer.zero_grad()
    model(x).square().sum().backward()
