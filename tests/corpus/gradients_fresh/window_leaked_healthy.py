"""The last, shorter window of each epoch is stepped too."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x, y = torch.randn(8, 3), torch.randn(8, 1)


def step():  # an epoch of five batches, in windows of two
    for i in range(5):
        (model(x) - y).square().mean().div(2).backward()
        if (i + 1) % 2 == 0 or i == 4:
            optimizer.step()
            optimizer.zero_grad()


STEPS = 3
