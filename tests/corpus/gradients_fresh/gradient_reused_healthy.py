"""An optimizer that steps through another one: two events, one update."""

import torch
from torch import nn


class Lookahead(torch.optim.Optimizer):
    def __init__(self, inner):
        super().__init__([{"params": group["params"]} for group in inner.param_groups], {})
        self.inner, self.count = inner, 0
        self.slow = [one.detach().clone() for group in inner.param_groups for one in group["params"]]

    @torch.no_grad()
    def step(self):
        self.inner.step()
        self.count += 1
        if self.count % 2 == 0:
            fast = [one for group in self.param_groups for one in group["params"]]
            for slow, parameter in zip(self.slow, fast, strict=True):
                parameter.copy_(slow.lerp_(parameter, 0.5))


model = nn.Linear(3, 1)
optimizer = Lookahead(torch.optim.SGD(model.parameters(), lr=0.1))
x = torch.randn(8, 3)
STEPS = 4


def step():
    optimizer.zero_grad()
    (model(x) - 1).square().mean().backward()
    optimizer.step()
