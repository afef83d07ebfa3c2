"""Each parameter has an optimizer of its own that steps, and clears, while backward runs."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
optimizers = {one: torch.optim.SGD([one], lr=0.1) for one in model.parameters()}
x = torch.randn(6, 3)


def apply(parameter):
    optimizers[parameter].step()
    optimizers[parameter].zero_grad()


for parameter in model.parameters():
    parameter.register_post_accumulate_grad_hook(apply)


def step():
    model(x).square().mean().backward()
