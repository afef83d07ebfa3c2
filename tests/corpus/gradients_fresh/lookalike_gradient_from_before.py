"""A gradient lay there before the first step; it is none of the step's business."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x, y = torch.randn(8, 3), torch.randn(8, 1)
(model(x) - y).square().mean().backward()


def step():
    (model(x) - y).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()
