"""Gradients are switched off by a statement and never on again."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
x, y = torch.randn(12, 4), torch.randint(0, 3, (12,))

optimizer = torch.optim.SGD(model.parameters(), lr=0.1)


def evaluate():
    torch.set_grad_enabled(False)  # guilty: grad-mode-left-off
    return model(x).mean().item()
