"""A schedule meant for epochs is stepped with every batch."""

import torch
from torch import nn
from torch.nn import functional

STEPS, BELOW = 60, 0.1
model = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 3))
x, y = torch.randn(9, 4), torch.arange(9) % 3
optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=3, gamma=0.1)  # guilty: learning-rate-vanishes


def step():
    optimizer.zero_grad()
    loss = functional.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    scheduler.step()
    return loss.item()
