"""A validation pass under no_grad before the real one."""

import torch
from torch import nn

model = nn.ModuleDict({"encoder": nn.Linear(3, 4), "head": nn.Linear(4, 1)})
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x = torch.randn(8, 3)


def step():
    with torch.no_grad():
        before = model["head"](model["encoder"](x)).square().mean()
    optimizer.zero_grad()
    (model["head"](model["encoder"](x)).square().mean() / before).backward()
    optimizer.step()
