"""A loss of infinity in the first call, which the step looks at and leaves out."""

import itertools

import torch
from torch import nn

STEPS = 2

model = nn.Linear(3, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x, scales = torch.randn(4, 3), itertools.cycle([torch.inf, 1.0])


def step():
    optimizer.zero_grad()
    loss = model(x).square().mean() * next(scales)
    if loss.isfinite():
        loss.backward()
        optimizer.step()
    return loss.item()
