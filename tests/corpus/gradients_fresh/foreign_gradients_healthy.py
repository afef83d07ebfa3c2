"""The discriminator is cleared once more before its own loss."""

import torch
from torch import nn

model = nn.ModuleDict({"g": nn.Linear(2, 3), "d": nn.Linear(3, 1)})
opt_g = torch.optim.SGD(model["g"].parameters(), lr=0.1)
opt_d = torch.optim.SGD(model["d"].parameters(), lr=0.1)
real = torch.randn(8, 3)


def step():
    opt_g.zero_grad()
    opt_d.zero_grad()
    fake = model["g"](torch.randn(8, 2))
    nn.functional.softplus(-model["d"](fake)).mean().backward()
    opt_g.step()
    opt_d.zero_grad()
    loss = nn.functional.softplus(-model["d"](real)) + nn.functional.softplus(model["d"](fake.detach()))
    loss.mean().backward()
    opt_d.step()
