"""Dropout, and a loss_fn that measures in eval mode."""

import torch
from torch import nn
from torch.nn import functional

STEPS, BELOW = 150, 0.1
model = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 3))
x, y = torch.randn(9, 4), torch.arange(9) % 3
optimizer = torch.optim.Adam(model.parameters(), lr=0.03)


def step():
    optimizer.zero_grad()
    functional.cross_entropy(model(x), y).backward()
    optimizer.step()


def loss_fn():
    return functional.cross_entropy(model.eval()(x), y)
