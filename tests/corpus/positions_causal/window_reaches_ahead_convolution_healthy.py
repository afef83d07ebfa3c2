"""Convolutions padded on the left only; the output keeps (batch, channels, time)."""

import torch
from torch import nn


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(2, 3, 3)

    def forward(self, x):
        return self.conv(nn.functional.pad(x.transpose(1, 2), (2, 0)))


model = Network()
batch = torch.randn(2, 8, 2)
