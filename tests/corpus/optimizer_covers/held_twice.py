"""A tied matrix is in two optimizers."""

import torch
from torch import nn

model = nn.Sequential(nn.Embedding(9, 5), nn.Linear(5, 9))
model[1].weight = model[0].weight
first = torch.optim.SGD(model[0].parameters(), lr=0.1)
optimizer = [first, torch.optim.SGD(model[1].parameters(), lr=0.1)]  # guilty: held-twice
