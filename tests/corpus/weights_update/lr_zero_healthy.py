"""A warm-up that begins at 0 and whose scheduler is stepped."""

import torch
from torch import nn

STEPS = 2

model = nn.Linear(3, 1)
optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda count: count / 100)
x = torch.randn(4, 3)


def step():
    optimizer.zero_grad()
    model(x).square().mean().backward()
    optimizer.step()
    scheduler.step()
