"""Sequences packed and sorted for a recurrent layer."""

import torch
from torch import nn


class Packed(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(3, 4, batch_first=True)

    def forward(self, items):
        packed = nn.utils.rnn.pack_sequence(items, enforce_sorted=False)
        return self.rnn(packed)[1][-1]


model = Packed()
batch = [torch.randn(k, 3) for k in (3, 5, 2)]
