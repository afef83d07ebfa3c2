"""The clip sees gradients that are 65536 times too large."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x, y = torch.randn(8, 3), torch.randn(8, 1)
scaler = torch.amp.GradScaler("cpu", init_scale=65536.0)


def step():
    optimizer.zero_grad()
    scaler.scale((model(x) - y).square().mean()).backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)  # guilty: clip-before-unscale
    scaler.step(optimizer)
    scaler.update()
