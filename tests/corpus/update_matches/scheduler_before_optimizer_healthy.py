"""The scheduler steps last."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
x, y = torch.randn(12, 4), torch.randint(0, 3, (12,))

optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
STEPS = 3


def step():
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(x), y).backward()
    optimizer.step()
    schedule.step()


def reference(copy):
    rates = iter([0.1, 0.05, 0.025])

    def plain_step():
        rate = next(rates)
        gradients = torch.autograd.grad(nn.functional.cross_entropy(copy(x), y), list(copy.parameters()))
        with torch.no_grad():
            for weight, gradient in zip(copy.parameters(), gradients, strict=True):
                weight -= rate * gradient

    return plain_step
