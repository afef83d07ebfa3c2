"""Gradients are cleared at three places, each of them a right one."""

import torch
from torch import nn

STEPS = 2

model = nn.Linear(3, 1)
optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
x = torch.randn(8, 3)


def step():
    optimizer.zero_grad(set_to_none=False)
    loss = model(x).square().mean()
    model.zero_grad()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
