"""Steps too small for the time there is."""

import torch
from torch import nn
from torch.nn import functional

STEPS, BELOW = 60, 0.1
model = nn.Linear(3, 1)
x = torch.randn(8, 3)
y = 3 * x.sum(1, keepdim=True)
optimizer = torch.optim.SGD(model.parameters(), lr=0.002)  # guilty: still-falling


def step():
    optimizer.zero_grad()
    loss = functional.mse_loss(model(x), y)
    loss.backward()
    optimizer.step()
    return loss.item()
