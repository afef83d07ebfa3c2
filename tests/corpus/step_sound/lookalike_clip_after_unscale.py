"""The scale is taken out before the clip, which is imported by its name."""

import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_

model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x, y = torch.randn(8, 3), torch.randn(8, 1)
scaler = torch.amp.GradScaler("cpu", init_scale=65536.0)


def step():
    optimizer.zero_grad()
    scaler.scale((model(x) - y).square().mean()).backward()
    scaler.unscale_(optimizer)
    clip_grad_norm_(model.parameters(), 0.01)
    scaler.step(optimizer)
    scaler.update()
