"""The result of a cast is a tensor, not a parameter."""

import torch
from torch import nn


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(3, 1).double()
        self.scale = nn.Parameter(torch.ones(1)).double()  # guilty: not-registered

    def forward(self, x):
        return self.body(x) * self.scale


model = Scaled()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x = torch.randn(4, 3, dtype=torch.float64)


def step():
    optimizer.zero_grad()
    model(x).square().mean().backward(retain_graph=True)
    optimizer.step()
