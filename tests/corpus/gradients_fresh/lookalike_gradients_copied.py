"""New gradients are copied into the old tensors."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x, y = torch.randn(8, 3), torch.randn(8, 1)


def step():
    parameters = list(model.parameters())
    gradients = torch.autograd.grad((model(x) - y).square().mean(), parameters)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if parameter.grad is None:
            parameter.grad = torch.empty_like(gradient)
        parameter.grad.copy_(gradient)
    optimizer.step()


STEPS = 3
