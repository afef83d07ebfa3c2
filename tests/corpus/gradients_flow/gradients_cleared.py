"""A hook was meant to mask some rows, and masks all of them."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x, y = torch.randn(8, 3), torch.randn(8, 1)
model[0].weight.register_hook(lambda grad: grad * 0)  # guilty: gradients-cleared


def step():
    optimizer.zero_grad()
    (model(x) - y).square().mean().backward()
    optimizer.step()
