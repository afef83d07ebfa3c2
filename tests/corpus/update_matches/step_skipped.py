"""The scaler skips the step: the scaled loss overflows."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
x, y = torch.randn(12, 4), torch.randint(0, 3, (12,))

optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)


def step():
    optimizer.zero_grad()
    scaler.scale(nn.functional.cross_entropy(model(x), y) * 1e38).backward()
    scaler.step(optimizer)  # guilty: step-skipped
    scaler.update()


def reference(copy):
    def plain_step():
        gradients = torch.autograd.grad(nn.functional.cross_entropy(copy(x), y), list(copy.parameters()))
        with torch.no_grad():
            for weight, gradient in zip(copy.parameters(), gradients, strict=True):
                weight -= 0.1 * gradient

    return plain_step
