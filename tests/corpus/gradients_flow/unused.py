"""A layer is computed and dropped."""

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.second = nn.Linear(3, 1)

    def forward(self, x):
        self.hidden = torch.relu(self.first(x))  # guilty: unused
        return self.second(x)


model = Model()
x = torch.randn(8, 3)


def step():
    model(x).square().mean().backward()
