"""The generator has stepped when everything is clipped, and the discriminator has not."""

import torch
from torch import nn

model = nn.ModuleDict({"a": nn.Linear(3, 3), "b": nn.Linear(3, 1)})
first = torch.optim.SGD(model["a"].parameters(), lr=0.1)
second = torch.optim.SGD(model["b"].parameters(), lr=0.1)
x = torch.randn(8, 3)


def step():
    first.zero_grad()
    second.zero_grad()
    model["b"](model["a"](x)).square().mean().backward()
    first.step()
    nn.utils.clip_grad_value_(model.parameters(), 0.01)
    second.step()
