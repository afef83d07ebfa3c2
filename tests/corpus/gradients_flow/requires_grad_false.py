"""Vectors that are loaded are frozen, unless one says otherwise."""

import torch
from torch import nn

table = nn.Embedding.from_pretrained(torch.randn(5, 3))  # guilty: requires-grad-false
model = nn.Sequential(table, nn.Linear(3, 1))
x = torch.tensor([0, 1, 2])
ONLY = ["*"]


def step():
    model(x).square().mean().backward()
