"""Activations are computed again in backward, through a block in train mode with dropout."""

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

model = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.1), nn.Linear(8, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x = torch.randn(6, 3)


def step():
    optimizer.zero_grad()
    (checkpoint(model, x, use_reentrant=False) - 1).square().mean().backward()
    optimizer.step()
