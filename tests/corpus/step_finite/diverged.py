"""The learning rate of the tutorial, on features in the hundreds."""

import torch
from torch import nn

model = nn.Linear(2, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)  # guilty: diverged
x = 100 * torch.rand(16, 2) + 20
y = 3 * x[:, :1] + 50


def step():
    optimizer.zero_grad()
    loss = (model(x) - y).square().mean()
    loss.backward()
    optimizer.step()
    return loss


STEPS = 12
