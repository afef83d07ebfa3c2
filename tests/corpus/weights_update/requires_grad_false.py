"""Pretrained vectors come frozen, and this test asks for them to be tuned."""

import torch
from torch import nn

ONLY = ["table.*", "head.*"]

model = nn.ModuleDict({"table": nn.Embedding.from_pretrained(torch.randn(5, 3)), "head": nn.Linear(3, 1)})
# guilty: requires-grad-false
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
words = torch.tensor([0, 1, 4])


def step():
    optimizer.zero_grad()
    model["head"](model["table"](words)).square().mean().backward()
    optimizer.step()
