"""A recurrent layer that takes (sequence, batch, features) is given (batch, sequence, features)."""

import torch
from torch import nn


class Reader(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(3, 5)  # guilty: wrong-batch-axis

    def forward(self, x):
        return self.rnn(x)[0].mean(1)


model = Reader()
batch = torch.randn(4, 6, 3)
