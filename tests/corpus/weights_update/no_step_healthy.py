"""No optimizer at all: the weights are written by hand."""

import torch
from torch import nn

model = nn.Linear(3, 2)
x, y = torch.randn(4, 3), torch.randn(4, 2)


def step():
    model.zero_grad()
    nn.functional.mse_loss(model(x), y).backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= 0.1 * parameter.grad
