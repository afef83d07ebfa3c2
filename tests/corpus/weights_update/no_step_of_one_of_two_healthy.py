"""Two optimizers, both stepped, in a loop."""

import torch
from torch import nn

model = nn.ModuleDict({"body": nn.Linear(3, 3), "head": nn.Linear(3, 1)})
of_body = torch.optim.SGD(model["body"].parameters(), lr=0.1)
of_head = torch.optim.Adam(model["head"].parameters(), lr=0.1)
x = torch.randn(4, 3)


def step():
    model.zero_grad()
    model["head"](model["body"](x)).square().mean().backward()
    for optimizer in (of_body, of_head):
        optimizer.step()
