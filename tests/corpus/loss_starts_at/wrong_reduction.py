"""A sum in place of a mean."""

import torch
from torch import nn
from torch.nn import functional

EXPECTED, RTOL = 1.0986, 0.2
model = nn.Linear(4, 3)
x, y = torch.randn(60, 4), torch.arange(60) % 3


def loss_fn():
    return functional.cross_entropy(model(x), y, reduction="sum")  # guilty: wrong-reduction
