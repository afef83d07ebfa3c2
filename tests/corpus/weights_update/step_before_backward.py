"""The optimizer steps on what is not there yet, and the next call clears what came too late."""

import torch
from torch import nn

STILL = True
STEPS = 3

model = nn.Linear(3, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x = torch.randn(4, 3)


def step():
    optimizer.zero_grad()
    loss = model(x).square().sum()
    optimizer.step()  # guilty: step-before-backward
    loss.backward()
