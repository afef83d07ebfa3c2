"""Small steps, and a modest claim."""

import torch
from torch import nn

STEPS, BY = 40, 0.05
model = nn.Linear(3, 1)
x = torch.randn(8, 3)
optimizer = torch.optim.SGD(model.parameters(), lr=0.001)


def step():
    optimizer.zero_grad()
    loss = (model(x) - 3).square().mean()
    loss.backward()
    optimizer.step()
    return {"loss": loss}
