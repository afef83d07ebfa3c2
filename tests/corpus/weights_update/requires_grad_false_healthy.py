"""Pretrained vectors that are tuned, beside some that stay frozen and that nobody asks about."""

import torch
from torch import nn

model = nn.ModuleDict(
    {
        "table": nn.Embedding.from_pretrained(torch.randn(5, 3), freeze=False),
        "fixed": nn.Embedding.from_pretrained(torch.randn(5, 3)),
        "head": nn.Linear(3, 1),
    }
)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
words = torch.tensor([0, 1, 4])


def step():
    optimizer.zero_grad()
    model["head"](model["table"](words) + model["fixed"](words)).square().mean().backward()
    optimizer.step()
