"""Only the backbone is cleared; the head sums up all of its gradients."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x, y = torch.randn(8, 3), torch.randn(8, 1)


def step():
    model[0].zero_grad()
    (model(x) - y).square().mean().backward()
    optimizer.step()  # guilty: gradients-not-cleared
