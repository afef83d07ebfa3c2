"""Sequences become longer with each step (a curriculum), and the last loss is kept: larger graphs, not more."""

import torch
from torch import nn

model = nn.RNNCell(2, 3)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
seen = {"length": 1}


def step():
    h = torch.zeros(1, 3)
    for _ in range(seen["length"]):
        h = model(torch.ones(1, 2), h)
    loss = h.square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    seen["length"] += 2
    seen["loss"] = loss
