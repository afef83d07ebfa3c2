"""Windows of two go on across the end of an epoch of five: all of them are alike."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x, y = torch.randn(8, 3), torch.randn(8, 1)
seen = []


def step():
    for _ in range(5):
        seen.append(1)
        (model(x) - y).square().mean().div(2).backward()
        if len(seen) % 2 == 0:
            optimizer.step()
            optimizer.zero_grad()


STEPS = 4
