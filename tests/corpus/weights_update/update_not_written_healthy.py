"""The new value is computed apart, and copied into the model."""

import torch
from torch import nn

model = nn.Linear(3, 1)
x = torch.randn(8, 3)


def step():
    model.zero_grad()
    model(x).square().mean().backward()
    for parameter in model.parameters():
        new = parameter.data - 0.1 * parameter.grad
        parameter.data = new
