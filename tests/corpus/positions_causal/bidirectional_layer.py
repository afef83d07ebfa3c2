"""The recurrent layer of a forecaster also runs backwards."""

import torch
from torch import nn


class Forecaster(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(2, 3, batch_first=True, bidirectional=True)  # guilty: bidirectional-layer

    def forward(self, x):
        return self.rnn(x)[0]


model = Forecaster()
batch = torch.randn(2, 6, 2)
