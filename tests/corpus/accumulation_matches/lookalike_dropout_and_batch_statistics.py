"""Dropout and batch statistics cannot agree between micro-batches and the batch; the step calls train() itself."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))
x, y = torch.randn(12, 4), torch.randint(0, 3, (12,))

optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

micro = list(zip(x.chunk(4), y.chunk(4), strict=True))


def full_loss():
    return nn.functional.cross_entropy(model(x), y)


def step():
    model.train()
    optimizer.zero_grad()
    for part, labels in micro:
        (nn.functional.cross_entropy(nn.functional.dropout(model(part), 0.2, model.training), labels) / 4).backward()
    optimizer.step()
