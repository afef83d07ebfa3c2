"""A standard deviation of one sample: 0 divided by 0, and Adam keeps the NaN."""

import torch
from torch import nn

STEPS = 2

model = nn.Linear(3, 2)
with torch.no_grad():
    model.weight.fill_(torch.nan)  # guilty: non-finite
    model.bias.fill_(torch.nan)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x = torch.randn(4, 3)


def step():
    optimizer.zero_grad()
    model(x).square().mean().backward()
    optimizer.step()
