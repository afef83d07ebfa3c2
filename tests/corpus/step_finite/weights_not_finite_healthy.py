"""Updates are enormous, and a projection brings the weights back."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=1e6)
x, y = torch.randn(8, 3), torch.randn(8, 1)


def step():
    optimizer.zero_grad()
    (model(x) - y).square().mean().backward()
    optimizer.step()
    with torch.no_grad():
        for one in model.parameters():
            one.clamp_(-1, 1)


STEPS = 5
