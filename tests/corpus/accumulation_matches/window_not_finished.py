"""One call is one micro-batch: the step is due three calls later."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
x, y = torch.randn(12, 4), torch.randint(0, 3, (12,))

optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

micro = list(zip(x.chunk(4), y.chunk(4), strict=True))


def full_loss():
    return nn.functional.cross_entropy(model(x), y)


calls = []


def step():  # guilty: window-not-finished
    part, labels = micro[len(calls) % 4]
    calls.append(1)
    (nn.functional.cross_entropy(model(part), labels) / 4).backward()
    if len(calls) % 4 == 0:
        optimizer.step()
        optimizer.zero_grad()
