"""The head is replaced after the optimizer was built."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 10))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)  # guilty: stale-optimizer
model[1] = nn.Linear(4, 2)
