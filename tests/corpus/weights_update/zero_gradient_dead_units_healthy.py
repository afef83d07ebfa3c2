"""Most units are dead, one fires for one sample."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
with torch.no_grad():
    model[0].bias.fill_(-100.0)
    model[0].bias[2] = 100.0
optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
x = torch.randn(4, 3)


def step():
    optimizer.zero_grad()
    (model(x) - 1).square().sum().backward()
    optimizer.step()
