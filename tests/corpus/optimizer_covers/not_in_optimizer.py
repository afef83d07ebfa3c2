"""The head is forgotten."""

import torch
from torch import nn

model = nn.ModuleDict({"body": nn.Linear(4, 4), "head": nn.Linear(4, 2)})
optimizer = torch.optim.SGD(model["body"].parameters(), lr=0.1)  # guilty: not-in-optimizer
