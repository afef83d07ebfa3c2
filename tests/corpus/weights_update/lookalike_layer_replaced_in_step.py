"""The step replaces the head, builds the optimizer after it, and trains both."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 5))
x = torch.randn(6, 3)


def step():
    model[1] = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(x).square().mean().backward()
    optimizer.step()
