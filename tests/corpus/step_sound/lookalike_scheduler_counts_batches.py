"""The schedule counts micro-batches, of which two make a step."""

import warnings

import torch
from torch import nn

model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x, y = torch.randn(8, 3), torch.randn(8, 1)
scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.9)


def step():
    optimizer.zero_grad()
    for part in (slice(0, 4), slice(4, 8)):
        (model(x[part]) - y[part]).square().mean().div(2).backward()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scheduler.step()
    optimizer.step()
