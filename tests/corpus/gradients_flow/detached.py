"""The features are cut off, and no optimizer is there that could show it."""

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(3, 4)
        self.head = nn.Linear(4, 1)

    def forward(self, x):
        features = self.encoder(x)
        return self.head(features.detach())  # guilty: detached


model = Model()
x = torch.randn(8, 3)


def step():
    model.zero_grad()
    model(x).square().mean().backward()
