"""The backbone is meant to stand still, and nobody told the optimizer."""

import torch
from torch import nn

ONLY = ["backbone.*"]

model = nn.ModuleDict({"backbone": nn.Linear(3, 4), "head": nn.Linear(4, 1)})
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)  # guilty: frozen-in-optimizer
x = torch.randn(6, 3)


def step():
    optimizer.zero_grad()
    model["head"](model["backbone"](x)).square().mean().backward()
    optimizer.step()
