"""The sensitivity to the inputs is asked of autograd.grad."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
x, y = torch.randn(12, 4), torch.randint(0, 3, (12,))

optimizer = torch.optim.SGD(model.parameters(), lr=0.1)


def evaluate():
    inputs = x.clone().requires_grad_()
    (sensitivity,) = torch.autograd.grad(nn.functional.cross_entropy(model(inputs), y), inputs)
    return sensitivity.abs().mean().item()
