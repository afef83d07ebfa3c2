"""Frozen parameters need no optimizer."""

import torch
from torch import nn

model = nn.ModuleDict({"body": nn.Linear(4, 4), "head": nn.Linear(4, 2)})
model["head"].requires_grad_(False)
optimizer = torch.optim.SGD(model["body"].parameters(), lr=0.1)
