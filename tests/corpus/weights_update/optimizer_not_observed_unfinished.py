"""An optimizer that forgot to initialise its base class, and whose step is still to be written."""

import torch
from torch import nn


class Unfinished(torch.optim.Optimizer):
    def __init__(self, params, lr):
        self.param_groups = [{"params": list(params), "lr": lr}]  # guilty: optimizer-not-observed

    def step(self, closure=None):
        return closure


model = nn.Linear(3, 1)
optimizer = Unfinished(model.parameters(), lr=0.1)
x = torch.randn(6, 3)


def step():
    model.zero_grad()
    model(x).square().mean().backward()
    optimizer.step()
