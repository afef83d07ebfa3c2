"""A wrapper steps, and the loop steps once more."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x, y = torch.randn(8, 3), torch.randn(8, 1)


def train(loss):
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def step():
    train((model(x) - y).square().mean())
    optimizer.step()  # guilty: gradient-reused
