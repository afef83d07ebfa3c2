"""An optimizer whose closure is optional, stepped without one."""

import torch
from torch import nn

model = nn.Linear(3, 1)
optimizer = torch.optim.Rprop(model.parameters(), lr=0.1)
x = torch.randn(8, 3)


def step():
    optimizer.zero_grad()
    model(x).square().mean().backward()
    optimizer.step()
