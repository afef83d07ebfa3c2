"""SAM: two backward passes in one step, and a base optimizer inside that uses the second."""

import torch
from torch import nn


class SAM(torch.optim.Optimizer):
    def __init__(self, params, rho, lr):
        super().__init__(params, {"rho": rho, "lr": lr})
        self.base = torch.optim.SGD(self.param_groups, lr=lr)

    @torch.no_grad()
    def step(self, closure):
        evaluate = torch.enable_grad()(closure)
        loss = evaluate()
        parameters = self.param_groups[0]["params"]
        kept = [one.clone() for one in parameters]
        for one in parameters:
            one.add_(one.grad, alpha=self.param_groups[0]["rho"])
        evaluate()
        for one, old in zip(parameters, kept, strict=True):
            one.copy_(old)
        self.base.step()
        return loss


model = nn.Linear(3, 1)
optimizer = SAM(model.parameters(), rho=0.05, lr=0.1)
x = torch.randn(8, 3)


def closure():
    optimizer.zero_grad()
    loss = (model(x) - 1).square().mean()
    loss.backward()
    return loss


def step():
    optimizer.step(closure)


STEPS = 3
