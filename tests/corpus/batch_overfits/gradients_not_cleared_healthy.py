"""Gradients of two micro-batches are added on purpose."""

import torch
from torch import nn
from torch.nn import functional

STEPS, BELOW = 100, 0.1
model = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 3))
x, y = torch.randn(9, 4), torch.arange(9) % 3
optimizer = torch.optim.SGD(model.parameters(), lr=0.5)


def step():
    optimizer.zero_grad()
    loss = functional.cross_entropy(model(x[:4]), y[:4])
    loss.backward()
    functional.cross_entropy(model(x[4:]), y[4:]).backward()
    optimizer.step()
    return loss.item()
