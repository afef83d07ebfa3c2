"""The penalty is divided as the loss is."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
x, y = torch.randn(12, 4), torch.randint(0, 3, (12,))

optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

micro = list(zip(x.chunk(4), y.chunk(4), strict=True))


def penalty():
    return 0.1 * model[0].weight.norm()


def full_loss():
    return nn.functional.cross_entropy(model(x), y) + penalty()


def step():
    optimizer.zero_grad()
    for part, labels in micro:
        loss = nn.functional.cross_entropy(model(part), labels) / 4
        (loss + penalty() / 4).backward()
    optimizer.step()
