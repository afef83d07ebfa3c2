"""Clipped to the norm that a sweep set to 0 to switch clipping off."""

import torch
from torch import nn

STILL = True
MAX_NORM = 0.0

model = nn.Linear(3, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x = torch.randn(8, 3)


def step():
    optimizer.zero_grad()
    model(x).square().mean().backward()
    nn.utils.clip_grad_norm_(model.parameters(), MAX_NORM)  # guilty: zero-gradient
    optimizer.step()
