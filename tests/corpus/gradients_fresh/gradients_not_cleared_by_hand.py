"""Gradients are added up by hand, onto those of the last call."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x, y = torch.randn(8, 3), torch.randn(8, 1)


def step():
    parameters = list(model.parameters())
    for part in (slice(0, 4), slice(4, 8)):
        gradients = torch.autograd.grad((model(x[part]) - y[part]).square().mean(), parameters)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
    optimizer.step()  # guilty: gradients-not-cleared
