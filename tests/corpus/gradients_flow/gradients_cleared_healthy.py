"""Each gradient is used and dropped as soon as it has come."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x, y = torch.randn(8, 3), torch.randn(8, 1)


def use(parameter):
    with torch.no_grad():
        parameter.sub_(0.1 * parameter.grad)
    parameter.grad = None


for parameter in model.parameters():
    parameter.register_post_accumulate_grad_hook(use)


def step():
    (model(x) - y).square().mean().backward()
