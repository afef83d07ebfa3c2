"""A fused optimizer is told about the infinity and does its skipping inside."""

import torch
from torch import nn

STILL = True
STEPS = 2

model = nn.Linear(3, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, fused=True)
scaler = torch.amp.GradScaler("cpu")
x = torch.randn(4, 3)


def step():
    optimizer.zero_grad()
    loss = model(x).square().mean() * torch.inf  # guilty: step-skipped
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
