"""Two optimizer steps per call, and the reference makes two as well."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
x, y = torch.randn(12, 4), torch.randint(0, 3, (12,))

optimizer = torch.optim.SGD(model.parameters(), lr=0.1)


def step():
    for _ in range(2):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()


def reference(copy):
    plain = torch.optim.SGD(copy.parameters(), lr=0.1)

    def plain_step():
        for _ in range(2):
            plain.zero_grad()
            nn.functional.cross_entropy(copy(x), y).backward()
            plain.step()

    return plain_step
