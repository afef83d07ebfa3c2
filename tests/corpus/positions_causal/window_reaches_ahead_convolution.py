"""Convolutions padded on both sides."""

import torch
from torch import nn


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(2, 3, 3, padding="same")  # guilty: window-reaches-ahead

    def forward(self, x):
        return self.conv(x.transpose(1, 2)).transpose(1, 2)


model = Network()
batch = torch.randn(2, 8, 2)
