"""A margin that is never violated: the loss is constant, and decay does all the moving."""

import torch
from torch import nn

STEPS = 2

model = nn.Linear(3, 1)
optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1)
x = torch.randn(6, 3)


def step():
    optimizer.zero_grad()
    (model(x).square() + 100).clamp(max=50).mean().backward()  # guilty: decay-only
    optimizer.step()
