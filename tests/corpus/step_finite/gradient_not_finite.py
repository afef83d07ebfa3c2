"""The distance of two equal points: finite, with an infinite slope."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x, y = torch.randn(8, 3), torch.randn(8, 1)
x[1] = x[0]


def step():
    optimizer.zero_grad()
    out = model(x)
    loss = (out[1:] - out[:-1]).square().sum(1).sqrt().mean()  # guilty: gradient-not-finite
    loss.backward()
    optimizer.step()
