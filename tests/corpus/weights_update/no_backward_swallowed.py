"""`backward` fails on a loss for each sample, and a broad `except` hides it."""

import contextlib

import torch
from torch import nn

STILL = True

model = nn.Linear(3, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x = torch.randn(4, 3)


def step():
    optimizer.zero_grad()
    with contextlib.suppress(RuntimeError):
        model(x).square().backward()  # guilty: no-backward
    optimizer.step()
