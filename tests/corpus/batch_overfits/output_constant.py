"""The units before the last layer are dead."""

import torch
from torch import nn
from torch.nn import functional

STEPS, BELOW = 60, 0.1
model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1))
nn.init.constant_(model[0].bias, -50.0)  # guilty: output-constant
x = torch.randn(8, 3)
y = x.sum(1, keepdim=True)
optimizer = torch.optim.Adam(model[2:].parameters(), lr=0.05)


def step():
    optimizer.zero_grad()
    loss = functional.mse_loss(model(x), y)
    loss.backward()
    optimizer.step()
    return loss.item()
