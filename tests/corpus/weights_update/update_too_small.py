"""The rate of a fine-tuning is used for training from nothing."""

import torch
from torch import nn

MIN_UPDATE = 1e-4

model = nn.Linear(3, 1)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-6)  # guilty: update-too-small
x = torch.randn(6, 3)


def step():
    optimizer.zero_grad()
    model(x).square().mean().backward()
    optimizer.step()
