"""A gate and its input both begin at zero: each keeps the other there."""

import torch
from torch import nn

STILL = True


class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate = nn.Parameter(torch.zeros(3))
        self.value = nn.Parameter(torch.zeros(3))  # guilty: zero-gradient

    def forward(self, x):
        return x * self.gate * self.value


model = Gated()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x = torch.randn(4, 3)


def step():
    optimizer.zero_grad()
    (model(x) - 1).square().sum().backward()
    optimizer.step()
