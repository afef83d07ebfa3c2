"""The clip comes too early: there is nothing to clip yet."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x, y = torch.randn(8, 3), torch.randn(8, 1)


def step():
    optimizer.zero_grad()
    loss = (model(x) - y).square().mean()
    nn.utils.clip_grad_norm_(model.parameters(), 0.01)  # guilty: clip-before-backward
    loss.backward()
    optimizer.step()
