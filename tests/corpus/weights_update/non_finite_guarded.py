"""A guard that leaves out batches whose loss is not finite leaves out all of them."""

import torch
from torch import nn

STEPS = 2

model = nn.Linear(3, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x = torch.zeros(4, 3)


def step():
    optimizer.zero_grad()
    loss = (model(x) - model(x)).log().sum()  # guilty: non-finite
    if loss.isfinite():
        loss.backward()
        optimizer.step()
    return loss
