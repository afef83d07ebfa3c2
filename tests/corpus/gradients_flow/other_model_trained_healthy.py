"""The gradients of the copies are written back."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
x, y = torch.randn(8, 3), torch.randn(8, 1)


def step():
    copies = {name: one.detach().clone() for name, one in model.named_parameters()}

    def loss_of(values):
        return (torch.func.functional_call(model, values, (x,)) - y).square().mean()

    gradients = torch.func.grad(loss_of)(copies)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.sub_(0.1 * gradients[name])
