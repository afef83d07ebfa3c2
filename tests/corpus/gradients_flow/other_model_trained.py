"""Copies of the weights are differentiated, and nothing is written back."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
x, y = torch.randn(8, 3), torch.randn(8, 1)


def step():
    copies = {name: one.detach().clone() for name, one in model.named_parameters()}

    def loss_of(values):
        return (torch.func.functional_call(model, values, (x,)) - y).square().mean()

    return torch.func.grad(loss_of)(copies)  # guilty: other-model-trained
