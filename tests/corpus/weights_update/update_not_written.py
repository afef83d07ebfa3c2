"""The new value is bound to the name of the loop, not to the model."""

import torch
from torch import nn

model = nn.Linear(3, 1)
x = torch.randn(8, 3)


def step():
    model.zero_grad()
    model(x).square().mean().backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter = parameter - 0.1 * parameter.grad  # guilty: update-not-written
