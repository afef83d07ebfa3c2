"""A learning rate far too high."""

import torch
from torch import nn
from torch.nn import functional

STEPS, BELOW = 10, 0.1
model = nn.Linear(3, 1)
x = torch.randn(8, 3)
y = x.sum(1, keepdim=True)
optimizer = torch.optim.SGD(model.parameters(), lr=1.5)  # guilty: loss-diverges


def step():
    optimizer.zero_grad()
    loss = functional.mse_loss(model(x), y)
    loss.backward()
    optimizer.step()
    return loss.item()
