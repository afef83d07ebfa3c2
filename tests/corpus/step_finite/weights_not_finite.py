"""Loss and gradients are finite, and the learning rate is not of this world."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=1e38)  # guilty: weights-not-finite
x, y = torch.randn(8, 3), 1e4 * torch.randn(8, 1)


def step():
    optimizer.zero_grad()
    (model(x) - y).square().mean().backward()
    optimizer.step()
