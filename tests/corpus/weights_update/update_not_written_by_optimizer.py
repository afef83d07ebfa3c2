"""A home-made optimizer that updates a flat copy of the weights."""

import torch
from torch import nn
from torch.nn.utils import parameters_to_vector

STILL = True


class Flat(torch.optim.Optimizer):
    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            weights = parameters_to_vector(group["params"])
            weights -= group["lr"] * parameters_to_vector([one.grad for one in group["params"]])
            # guilty: update-not-written


model = nn.Linear(3, 1)
optimizer = Flat(model.parameters(), lr=0.1)
x = torch.randn(8, 3)


def step():
    optimizer.zero_grad()
    model(x).square().mean().backward()
    optimizer.step()
