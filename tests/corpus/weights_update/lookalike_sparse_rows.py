"""A sparse table and a dense head, each with its own kind of optimizer; few rows are looked up."""

import torch
from torch import nn

model = nn.ModuleDict({"table": nn.Embedding(50, 3, sparse=True), "head": nn.Linear(3, 1)})
of_table = torch.optim.SparseAdam(model["table"].parameters(), lr=0.01)
of_head = torch.optim.Adam(model["head"].parameters(), lr=0.01)
words = torch.tensor([4, 4, 9])


def step():
    for optimizer in (of_table, of_head):
        optimizer.zero_grad()
    (model["head"](model["table"](words)) - 1).square().mean().backward()
    for optimizer in (of_table, of_head):
        optimizer.step()
