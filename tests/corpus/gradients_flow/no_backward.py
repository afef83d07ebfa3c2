"""The loss is computed and nothing is done with it."""

import torch
from torch import nn

STILL = True

model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x, y = torch.randn(8, 3), torch.randn(8, 1)


def step():
    optimizer.zero_grad()
    loss = (model(x) - y).square().mean()  # guilty: no-backward
    optimizer.step()
    return loss
