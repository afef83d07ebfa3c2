"""Sharpness-aware: climb, look again, come back down, step."""

import torch
from torch import nn

model = nn.Linear(3, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x = torch.randn(6, 3)


def step():
    optimizer.zero_grad()
    model(x).square().mean().backward()
    climbs = [0.05 * one.grad / one.grad.norm() for one in model.parameters()]
    with torch.no_grad():
        torch._foreach_add_(list(model.parameters()), climbs)
    optimizer.zero_grad()
    model(x).square().mean().backward()
    with torch.no_grad():
        torch._foreach_sub_(list(model.parameters()), climbs)
    optimizer.step()
