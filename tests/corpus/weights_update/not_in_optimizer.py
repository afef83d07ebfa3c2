"""Weights are sorted into groups by dimension, and what has none is in no group."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3), nn.Linear(3, 1))
matrices = [one for one in model.parameters() if one.dim() > 1]  # guilty: not-in-optimizer
optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.1}], lr=0.01)
x = torch.randn(4, 3)


def step():
    optimizer.zero_grad()
    model(x).square().mean().backward()
    optimizer.step()
