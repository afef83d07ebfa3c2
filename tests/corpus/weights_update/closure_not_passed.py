"""An optimizer that looks twice at the loss does nothing when it is not told how to compute it."""

import torch
from torch import nn

STILL = True


class TwoLooks(torch.optim.Optimizer):
    """Steps downhill from the place that one step uphill leads to."""

    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr})

    def step(self, closure=None):
        if closure is None:
            return None
        with torch.enable_grad():
            loss = closure()
        with torch.no_grad():
            for group in self.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        parameter -= group["lr"] * parameter.grad
        return loss


model = nn.Linear(3, 1)
optimizer = TwoLooks(model.parameters(), lr=0.1)
x = torch.randn(8, 3)


def step():
    optimizer.zero_grad()
    model(x).square().mean().backward()
    optimizer.step()  # guilty: closure-not-passed
