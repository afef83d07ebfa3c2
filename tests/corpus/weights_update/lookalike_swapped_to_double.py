"""The step converts the model before it trains it."""

import torch
from torch import nn

model = nn.Linear(3, 1)
x = torch.randn(6, 3)


def step():
    model.double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(x.double()).square().mean().backward()
    optimizer.step()
