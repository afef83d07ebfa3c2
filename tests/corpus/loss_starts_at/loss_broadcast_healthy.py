"""Standardised targets."""

import torch
from torch import nn
from torch.nn import functional

EXPECTED, RTOL = 1.0, 0.1
model = nn.Linear(4, 1)
nn.init.zeros_(model.weight)
nn.init.zeros_(model.bias)
x, y = torch.randn(60, 4), torch.linspace(-1.7, 1.7, 60)


def loss_fn():
    return functional.mse_loss(model(x).squeeze(1), y)
