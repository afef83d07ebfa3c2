"""The same hook, the right way round."""

import torch
from torch import nn

model = nn.Linear(3, 1)
for parameter in model.parameters():
    parameter.register_hook(lambda grad: torch.where(grad.isfinite(), grad, 0.0))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x = torch.randn(8, 3)


def step():
    optimizer.zero_grad()
    model(x).square().mean().backward()
    optimizer.step()
