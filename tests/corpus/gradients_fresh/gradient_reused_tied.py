"""A tied weight is held by the optimizers of both halves."""

import torch
from torch import nn

encoder, decoder = nn.Embedding(9, 4), nn.Linear(4, 9)
decoder.weight = encoder.weight
model = nn.Sequential(encoder, decoder)
first = torch.optim.SGD(encoder.parameters(), lr=0.1)
second = torch.optim.SGD(decoder.parameters(), lr=0.1)
x, y = torch.randint(0, 9, (8,)), torch.randint(0, 9, (8,))


def step():
    first.zero_grad()
    second.zero_grad()
    nn.functional.cross_entropy(model(x), y).backward()
    first.step()
    second.step()  # guilty: gradient-reused
