"""A tied matrix has two names and is in one group."""

import torch
from torch import nn

model = nn.Sequential(nn.Embedding(9, 5), nn.Linear(5, 9))
model[1].weight = model[0].weight
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
