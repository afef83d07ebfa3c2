"""The head is replaced before the optimizer is built."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 10))
model[1] = nn.Linear(4, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
