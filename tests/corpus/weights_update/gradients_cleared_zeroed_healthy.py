"""Gradients of rows that are masked are zeroed in place, the others stay."""

import torch
from torch import nn

model = nn.Linear(3, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x = torch.randn(8, 3)


def step():
    optimizer.zero_grad()
    model(x).square().mean().backward()
    model.weight.grad[0].zero_()
    optimizer.step()
