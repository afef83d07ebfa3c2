"""The same plus, and the optimizer says that it maximises."""

import torch
from torch import nn


class Plain(torch.optim.Optimizer):
    def __init__(self, params, lr, **options):
        super().__init__(params, {"lr": lr, **options})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for one in group["params"]:
                one.add_(one.grad, alpha=group["lr"])


model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
optimizer = Plain(model.parameters(), lr=0.1, maximize=True)
x, y = torch.randn(8, 3), torch.randn(8, 1)


def step():
    optimizer.zero_grad()
    (model(x) - y).square().mean().neg().backward()
    optimizer.step()
