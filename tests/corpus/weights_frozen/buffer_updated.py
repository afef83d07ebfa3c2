"""The frozen part is in train mode, and its running statistics follow the new data."""

import torch
from torch import nn

BUFFERS = True

model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))  # guilty: buffer-updated
model[:2].requires_grad_(False)
optimizer = torch.optim.SGD(model[2].parameters(), lr=0.1)
x = torch.randn(6, 3)


def step():
    optimizer.zero_grad()
    model(x).square().mean().backward()
    optimizer.step()
