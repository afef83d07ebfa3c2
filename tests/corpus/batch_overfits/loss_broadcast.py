"""Predictions (N, 1) against targets (N,)."""

import torch
from torch import nn

STEPS, BELOW = 60, 0.1
model = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 1))
x = torch.randn(8, 3)
y = x.sum(1)
optimizer = torch.optim.Adam(model.parameters(), lr=0.05)


def step():
    optimizer.zero_grad()
    loss = (model(x) - y).square().mean()  # guilty: loss-broadcast
    loss.backward()
    optimizer.step()
    return loss.item()
