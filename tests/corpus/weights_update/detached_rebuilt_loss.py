"""The loss is rebuilt from its number and told to require grad, which silences torch's error."""

import torch
from torch import nn

STILL = True

model = nn.Linear(3, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x = torch.randn(8, 3)


def step():
    optimizer.zero_grad()
    total = sum(model(row).square().item() for row in x)
    torch.tensor(total, requires_grad=True).backward()  # guilty: detached
    optimizer.step()
