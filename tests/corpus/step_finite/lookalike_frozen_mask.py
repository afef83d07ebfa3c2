"""A mask of minus infinities is a frozen parameter."""

import torch
from torch import nn


class Masked(nn.Module):
    def __init__(self):
        super().__init__()
        self.scores = nn.Linear(3, 3)
        self.mask = nn.Parameter(torch.tensor([0.0, float("-inf"), 0.0]), requires_grad=False)

    def forward(self, x):
        return (self.scores(x) + self.mask).softmax(-1)


model = Masked()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x = torch.randn(8, 3)


def step():
    optimizer.zero_grad()
    model(x)[:, 0].mean().backward()
    optimizer.step()
