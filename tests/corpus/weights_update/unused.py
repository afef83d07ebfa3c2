"""The second branch is built, computed, and left out of the sum."""

import torch
from torch import nn


class TwoBranches(nn.Module):
    def __init__(self):
        super().__init__()
        self.left = nn.Linear(3, 2)
        self.right = nn.Linear(3, 2)

    def forward(self, x):
        left, right = self.left(x), self.right(x)
        del right
        return left + left  # guilty: unused


model = TwoBranches()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x = torch.randn(4, 3)


def step():
    optimizer.zero_grad()
    model(x).square().sum().backward()
    optimizer.step()
