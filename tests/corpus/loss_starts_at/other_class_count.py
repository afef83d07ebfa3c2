"""The head of another data set."""

import torch
from torch import nn
from torch.nn import functional

EXPECTED, RTOL = 1.0986, 0.2
model = nn.Linear(4, 100)  # guilty: other-class-count
x, y = torch.randn(60, 4), torch.arange(60) % 3


def loss_fn():
    return functional.cross_entropy(model(x), y)
