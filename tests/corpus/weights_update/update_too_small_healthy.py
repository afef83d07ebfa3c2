"""A bias of zeros has no ratio; any update of it is large enough."""

import torch
from torch import nn

MIN_UPDATE = 1e-4

model = nn.Linear(3, 1)
nn.init.zeros_(model.bias)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
x = torch.randn(6, 3)


def step():
    optimizer.zero_grad()
    (model(x) - 1).square().mean().backward()
    optimizer.step()
