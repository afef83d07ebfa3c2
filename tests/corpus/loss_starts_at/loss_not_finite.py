"""0 * log(0)."""

import torch
from torch import nn
from torch.nn import functional

EXPECTED, RTOL = 1.0986, 0.2
model = nn.Linear(4, 3)
nn.init.constant_(model.weight, 1e4)
x, y = torch.randn(60, 4), torch.arange(60) % 3


def loss_fn():
    return (
        -(functional.softmax(x @ torch.eye(4, 3) * 1e4, 1).log() * functional.one_hot(y, 3)).sum(1).mean()
    )  # guilty: loss-not-finite
