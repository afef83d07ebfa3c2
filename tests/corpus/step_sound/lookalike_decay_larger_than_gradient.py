"""Weight decay pulls harder than the loss does."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=50.0)
x, y = torch.randn(8, 3), torch.randn(8, 1)


def step():
    optimizer.zero_grad()
    (-1e-3 * sum(one.square().sum() for one in model.parameters()) + 1e-6 * (model(x) - y).square().mean()).backward()
    optimizer.step()
