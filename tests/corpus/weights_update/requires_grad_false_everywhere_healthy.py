"""The model is frozen when the watch begins, and thawed by the step itself."""

import torch
from torch import nn

model = nn.Linear(3, 1).requires_grad_(False)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x = torch.randn(4, 3)


def step():
    model.requires_grad_(True)
    optimizer.zero_grad()
    model(x).square().mean().backward()
    optimizer.step()
