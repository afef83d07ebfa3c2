"""Frozen, and its left-over gradients cleared."""

import torch
from torch import nn

model = nn.ModuleDict({"backbone": nn.Linear(3, 4), "head": nn.Linear(4, 1)})
optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1)
x = torch.randn(6, 3)
model["head"](model["backbone"](x)).square().mean().backward()
model["backbone"].requires_grad_(False)


def step():
    optimizer.zero_grad()
    model["head"](model["backbone"](x)).square().mean().backward()
    optimizer.step()
