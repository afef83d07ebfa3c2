"""A leaf of its own takes part in the loss, and is trained as well."""

import torch
from torch import nn

model = nn.Linear(3, 1)
temperature = torch.tensor(1.0, requires_grad=True)
optimizer = torch.optim.SGD([*model.parameters(), temperature], lr=0.1)
x = torch.randn(8, 3)


def step():
    optimizer.zero_grad()
    (sum(model(row).square().sum() for row in x) * temperature).backward()
    optimizer.step()
