"""Two players, two optimizers, clipped and scheduled, each cleared before its own loss."""

import torch
from torch import nn

model = nn.ModuleDict({"g": nn.Linear(2, 3), "d": nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))})
optimizers = {name: torch.optim.Adam(model[name].parameters(), lr=1e-2) for name in model}
schedules = [torch.optim.lr_scheduler.ExponentialLR(one, gamma=0.9) for one in optimizers.values()]
real = torch.randn(8, 3)


def play(name, loss):
    optimizers[name].zero_grad()
    loss.mean().backward()
    nn.utils.clip_grad_norm_(model[name].parameters(), 0.01)
    optimizers[name].step()


def step():
    fake = model["g"](torch.randn(8, 2))
    play("d", nn.functional.softplus(-model["d"](real)) + nn.functional.softplus(model["d"](fake.detach())))
    play("g", nn.functional.softplus(-model["d"](fake)))
    for schedule in schedules:
        schedule.step()
