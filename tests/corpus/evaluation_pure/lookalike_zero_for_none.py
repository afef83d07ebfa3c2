"""Gradients that were None are zeros afterwards: it comes to the same."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
x, y = torch.randn(12, 4), torch.randint(0, 3, (12,))

optimizer = torch.optim.SGD(model.parameters(), lr=0.1)


def evaluate():
    loss = nn.functional.cross_entropy(model(x), y)
    loss.backward()
    optimizer.zero_grad(set_to_none=False)
    return loss.item()
