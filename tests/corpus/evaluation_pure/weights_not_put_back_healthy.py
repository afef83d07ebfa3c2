"""Averaged weights are swapped in and out in a finally block."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
x, y = torch.randn(12, 4), torch.randint(0, 3, (12,))

optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

average = [0.9 * weight.detach() for weight in model.parameters()]


def swap():
    for i, weight in enumerate(model.parameters()):
        weight.data, average[i] = average[i], weight.data


def evaluate():
    swap()
    try:
        return model(x).mean().item()
    finally:
        swap()
