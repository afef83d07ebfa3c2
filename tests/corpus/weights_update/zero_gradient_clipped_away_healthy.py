"""Clipped hard, but not to nothing."""

import torch
from torch import nn

model = nn.Linear(3, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x = torch.randn(8, 3)


def step():
    optimizer.zero_grad()
    model(x).square().mean().backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1e-3)
    nn.utils.clip_grad_value_(model.parameters(), 1e-4)
    optimizer.step()
