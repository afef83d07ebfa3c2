"""The encoder runs in a block that was meant for validation."""

import torch
from torch import nn

model = nn.ModuleDict({"encoder": nn.Linear(3, 4), "head": nn.Linear(4, 1)})
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x = torch.randn(8, 3)


def step():
    optimizer.zero_grad()
    with torch.no_grad():
        features = model["encoder"](x)  # guilty: detached
    model["head"](features).square().mean().backward()
    optimizer.step()
