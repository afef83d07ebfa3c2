"""A high learning rate that overshoots at first, with momentum, and arrives."""

import torch
from torch import nn
from torch.nn import functional

STEPS, BELOW = 150, 0.1
model = nn.Linear(3, 1)
x = torch.randn(8, 3)
y = x.sum(1, keepdim=True)
optimizer = torch.optim.SGD(model.parameters(), lr=0.15, momentum=0.9)


def step():
    optimizer.zero_grad()
    loss = functional.mse_loss(model(x), y)
    loss.backward()
    optimizer.step()
    return loss.item()
