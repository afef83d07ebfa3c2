"""Nine of ten units are dropped."""

import torch
from torch import nn
from torch.nn import functional

STEPS, BELOW = 150, 0.2
model = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Dropout(0.9), nn.Linear(64, 3))  # guilty: dropout-too-strong
x, y = torch.randn(9, 4), torch.arange(9) % 3
optimizer = torch.optim.Adam(model.parameters(), lr=0.02)


def step():
    optimizer.zero_grad()
    functional.cross_entropy(model(x), y).backward()
    optimizer.step()


def loss_fn():
    return functional.cross_entropy(model(x), y)
