"""The closure clears and goes backward from two losses, one after the other."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1))
optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=4)
x, y = torch.rand(12, 2), torch.rand(12, 1)


def closure():
    optimizer.zero_grad()
    first = (model(x) - y).square().mean()
    first.backward()
    second = model(x).abs().mean()
    second.backward()
    return first + second


def step():
    optimizer.step(closure)
