"""A cosine schedule that has run to its end before this phase begins."""

import torch
from torch import nn

STILL = True

model = nn.Linear(3, 1)
optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
for group in optimizer.param_groups:
    group["lr"] *= 1 - 10 / 10  # guilty: lr-zero
x = torch.randn(4, 3)


def step():
    optimizer.zero_grad()
    model(x).square().mean().backward()
    optimizer.step()
