"""A spy on the optimizer that lets every call through."""

from unittest import mock

import torch
from torch import nn

model = nn.Linear(3, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
optimizer.step = mock.Mock(side_effect=optimizer.step)
x = torch.randn(6, 3)


def step():
    optimizer.zero_grad()
    model(x).square().mean().backward()
    optimizer.step()
