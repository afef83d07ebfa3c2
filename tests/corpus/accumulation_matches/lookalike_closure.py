"""The optimizer evaluates its closure several times, each over all micro-batches."""

import torch
from torch import nn

model = nn.Linear(4, 1)
x, y = torch.randn(12, 4), torch.randn(12, 1)
optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=3)


def full_loss():
    return nn.functional.mse_loss(model(x), y)


def closure():
    optimizer.zero_grad()
    total = 0.0
    for part, targets in zip(x.chunk(4), y.chunk(4), strict=True):
        loss = nn.functional.mse_loss(model(part), targets) / 4
        loss.backward()
        total += loss.item()
    return total


def step():
    optimizer.step(closure)
