"""The same guard around a loss that is finite."""

import torch
from torch import nn

model = nn.Linear(3, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x = torch.randn(4, 3)


def step():
    optimizer.zero_grad()
    loss = model(x).exp().add(1e-6).log().square().sum()
    if loss.isfinite():
        loss.backward()
        optimizer.step()
    return loss
