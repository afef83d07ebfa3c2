"""A last layer that begins at zero."""

import torch
from torch import nn
from torch.nn import functional

EXPECTED, RTOL = 1.0986, 0.001
model = nn.Linear(4, 3)
nn.init.zeros_(model.weight)
nn.init.zeros_(model.bias)
x, y = torch.randn(60, 4), torch.arange(60) % 3


def loss_fn():
    return functional.cross_entropy(model(x), y)
