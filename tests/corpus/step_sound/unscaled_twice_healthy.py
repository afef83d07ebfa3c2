"""The norms for the log are divided by the scale; the gradients are left alone."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x, y = torch.randn(8, 3), torch.randn(8, 1)
scaler = torch.amp.GradScaler("cpu", init_scale=65536.0)


def step():
    optimizer.zero_grad()
    scaler.scale((model(x) - y).square().mean()).backward()
    norms = [one.grad.norm() / scaler.get_scale() for one in model.parameters()]
    assert norms
    scaler.step(optimizer)
    scaler.update()
