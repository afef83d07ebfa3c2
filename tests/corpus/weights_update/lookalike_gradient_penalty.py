"""The gradient of an output takes part in the loss."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(3, 4), nn.Softplus(), nn.Linear(4, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
x = torch.randn(6, 3, requires_grad=True)


def step():
    out = model(x)
    (slope,) = torch.autograd.grad(out.sum(), x, create_graph=True)
    optimizer.zero_grad()
    (out.square().mean() + (slope.norm(dim=1) - 1).square().mean()).backward()
    optimizer.step()
