"""The head is cleared by another optimizer, with zeros in place of None."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
body = torch.optim.SGD(model[0].parameters(), lr=0.1)
head = torch.optim.SGD(model[2].parameters(), lr=0.1)
x, y = torch.randn(8, 3), torch.randn(8, 1)


def step():
    body.zero_grad()
    (model(x) - y).square().mean().backward()
    body.step()
    head.step()
    head.zero_grad(set_to_none=False)
