"""The scaler skips the step: the scaled loss overflows."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
x, y = torch.randn(12, 4), torch.randint(0, 3, (12,))

optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

micro = list(zip(x.chunk(4), y.chunk(4), strict=True))


def full_loss():
    return nn.functional.cross_entropy(model(x), y)


scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)


def step():
    optimizer.zero_grad()
    for part, labels in micro:
        scaler.scale(nn.functional.cross_entropy(model(part), labels) * 1e38).backward()
    scaler.step(optimizer)  # guilty: step-skipped
    scaler.update()
