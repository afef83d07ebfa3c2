"""Mini-batches in a new order; the step returns how many samples it has seen."""

import torch
from torch import nn
from torch.nn import functional

STEPS, BELOW = 120, 0.1
model = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 3))
x, y = torch.randn(18, 4), torch.arange(18) % 3
optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
seen = []


def step():
    rows = torch.randperm(18)[:6]
    optimizer.zero_grad()
    functional.cross_entropy(model(x[rows]), y[rows]).backward()
    optimizer.step()
    seen.append(6)
    return sum(seen)


def loss_fn():
    return functional.cross_entropy(model(x), y)
