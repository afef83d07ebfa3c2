"""The layer is replaced, and the optimizer built after it; it also holds a tensor of no module."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 10))
forgotten = torch.optim.Adam(model.parameters(), lr=0.01)
model[2] = nn.Linear(3, 2)
latent = torch.zeros(4, 3, requires_grad=True)
optimizer = torch.optim.Adam([*model.parameters(), latent], lr=0.01)
x = torch.randn(4, 3)


def step():
    optimizer.zero_grad()
    model(x + latent).square().mean().backward()
    optimizer.step()
