"""A warm-up that begins at 0 leaves its 0 at once."""

import warnings

import torch
from torch import nn

model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x, y = torch.randn(8, 3), torch.randn(8, 1)
scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1, step / 4))


def step():
    optimizer.zero_grad()
    (model(x) - y).square().mean().backward()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scheduler.step()
    optimizer.step()
