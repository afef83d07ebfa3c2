"""Functional dropout is at work in eval mode too: training=True is the default."""

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, inputs):
        return nn.functional.dropout(self.layer(inputs), 0.5)  # guilty: dropout-in-evaluation


model = Net().eval()
x = torch.randn(12, 4)


def evaluate():
    return model(x).mean().item()
