"""Heads in a dict, which a module does not look into."""

import torch
from torch import nn


class Heads(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(3, 3)
        self.heads = {"a": nn.Linear(3, 1), "b": nn.Linear(3, 1)}  # guilty: not-registered

    def forward(self, x):
        h = self.body(x)
        return self.heads["a"](h) + self.heads["b"](h)


model = Heads()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x = torch.randn(4, 3)


def step():
    optimizer.zero_grad()
    model(x).square().mean().backward()
    optimizer.step()
