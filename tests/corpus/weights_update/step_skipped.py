"""The scaled loss overflows in every call."""

import torch
from torch import nn

STEPS = 3

model = nn.Linear(3, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
scaler = torch.amp.GradScaler("cpu")
x = torch.randn(4, 3)


def step():
    optimizer.zero_grad()
    loss = model(x).square().mean() / torch.zeros(())  # guilty: step-skipped
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
