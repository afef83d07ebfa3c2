"""Predictions and targets of one shape; pairwise distances are meant to broadcast."""

import torch
from torch import nn
from torch.nn import functional

STEPS, BELOW = 60, 0.1
model = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 1))
x = torch.randn(8, 3)
y = x.sum(1)
optimizer = torch.optim.Adam(model.parameters(), lr=0.05)


def step():
    optimizer.zero_grad()
    loss = functional.mse_loss(model(x).squeeze(1), y) + 0 * (y[:, None] - y[None, :]).mean()
    loss.backward()
    optimizer.step()
    return loss.item()
