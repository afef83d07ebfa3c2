"""A branch behind a gate at zero: its first gradient is zero, the second is not."""

import torch
from torch import nn


class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.branch = nn.Linear(3, 3)
        self.gate = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return x + self.gate * self.branch(x)


model = Gated()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x = torch.randn(8, 3)
STEPS = 2


def step():
    optimizer.zero_grad()
    (model(x) - 1).square().mean().backward()
    optimizer.step()
