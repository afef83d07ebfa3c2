"""Predictions (N, 1) against standardised targets (N,) that the untrained model knows."""

import torch
from torch import nn

EXPECTED, RTOL = 0.001, 0.5
model = nn.Linear(4, 1)
x = torch.randn(60, 4)
y = model(x).detach().squeeze(1)


def loss_fn():
    return (model(x) - y).square().mean()  # guilty: loss-broadcast
