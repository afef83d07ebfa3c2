"""Langevin dynamics: the noise is larger than the gradient and may point anywhere."""

import torch
from torch import nn


class Plain(torch.optim.Optimizer):
    def __init__(self, params, lr, **options):
        super().__init__(params, {"lr": lr, **options})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for one in group["params"]:
                one.sub_(one.grad, alpha=group["lr"]).add_(torch.randn_like(one))


model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
optimizer = Plain(model.parameters(), lr=1e-3)
x, y = torch.randn(8, 3), torch.randn(8, 1)


def step():
    optimizer.zero_grad()
    (model(x) - y).square().mean().backward()
    optimizer.step()
