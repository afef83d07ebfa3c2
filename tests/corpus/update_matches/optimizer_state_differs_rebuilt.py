"""The optimizer is built anew in every step and forgets its moments."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
x, y = torch.randn(12, 4), torch.randint(0, 3, (12,))

STEPS = 3


def step():
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)  # guilty: optimizer-state-differs
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(x), y).backward()
    optimizer.step()


def reference(copy):
    plain = torch.optim.Adam(copy.parameters(), lr=0.01)

    def plain_step():
        plain.zero_grad()
        nn.functional.cross_entropy(copy(x), y).backward()
        plain.step()

    return plain_step
