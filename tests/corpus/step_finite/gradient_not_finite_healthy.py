"""A scaler that starts too high: it skips the step, halves its scale, and goes on."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x, y = torch.randn(8, 3), torch.randn(8, 1)
scaler = torch.amp.GradScaler("cpu", init_scale=2.0**18)


def step():
    optimizer.zero_grad()
    half = [one.half() for one in model.parameters()]
    h = nn.functional.linear(x.half(), half[0], half[1]).tanh()
    loss = (nn.functional.linear(h, half[2], half[3]).float() - y).square().mean()
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
    return loss


STEPS = 3
