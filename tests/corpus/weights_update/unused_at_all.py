"""A projection for residuals of another width that this configuration never needs."""

import torch
from torch import nn


class Block(nn.Module):
    def __init__(self, width, out):
        super().__init__()
        self.body = nn.Linear(width, out)
        self.project = nn.Linear(width, out)  # guilty: unused

    def forward(self, x):
        y = self.body(x)
        return x + y if x.shape == y.shape else self.project(x) + y


model = Block(3, 3)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x = torch.randn(4, 3)


def step():
    optimizer.zero_grad()
    model(x).square().sum().backward()
    optimizer.step()
