"""Decay, and a gradient in one of two steps."""

import itertools

import torch
from torch import nn

STEPS = 2

model = nn.Linear(3, 1)
optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1)
x, offsets = torch.randn(6, 3), itertools.cycle([100, 0])


def step():
    optimizer.zero_grad()
    (model(x).square() + next(offsets)).clamp(max=50).mean().backward()
    optimizer.step()
