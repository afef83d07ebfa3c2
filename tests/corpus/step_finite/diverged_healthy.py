"""The loss grows for a while, because the rate is a little too high, and stays finite."""

import torch
from torch import nn

model = nn.Linear(2, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
x = 100 * torch.rand(16, 2) + 20
y = 3 * x[:, :1] + 50


def step():
    optimizer.zero_grad()
    loss = (model(x) - y).square().mean()
    loss.backward()
    optimizer.step()
    return loss


STEPS = 12
