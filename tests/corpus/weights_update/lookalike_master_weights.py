"""Half-precision weights that are copied from float32 masters, which the optimizer holds."""

import torch
from torch import nn

model = nn.Linear(16, 16, dtype=torch.bfloat16)
masters = [one.detach().float() for one in model.parameters()]
optimizer = torch.optim.SGD(masters, lr=0.5)
x = torch.randn(6, 16, dtype=torch.bfloat16)


def step():
    model.zero_grad()
    (model(x) - 1).square().sum().backward()
    for master, parameter in zip(masters, model.parameters(), strict=True):
        master.grad = parameter.grad.float()
    optimizer.step()
    with torch.no_grad():
        for master, parameter in zip(masters, model.parameters(), strict=True):
            parameter.copy_(master)
