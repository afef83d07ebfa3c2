"""Cast first, then made a parameter; a second one is not registered, and given to the optimizer by name."""

import torch
from torch import nn


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(3, 1).double()
        self.scale = nn.Parameter(torch.ones(1).double())
        self.shift = [nn.Parameter(torch.zeros(1).double())]

    def forward(self, x):
        return self.body(x) * self.scale + self.shift[0]


model = Scaled()
optimizer = torch.optim.SGD([*model.parameters(), *model.shift], lr=0.1)
x = torch.randn(4, 3, dtype=torch.float64)


def step():
    optimizer.zero_grad()
    model(x).square().mean().backward()
    optimizer.step()
