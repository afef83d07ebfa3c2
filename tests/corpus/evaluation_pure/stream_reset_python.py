"""The validation set is drawn with a seed of its own, in the stream of everybody."""

import random

import torch
from torch import nn

model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
x, y = torch.randn(12, 4), torch.randint(0, 3, (12,))

optimizer = torch.optim.SGD(model.parameters(), lr=0.1)


def evaluate():
    random.seed(3)  # guilty: stream-reset
    chosen = random.sample(range(12), 6)
    with torch.no_grad():
        return model(x[chosen]).mean().item()
