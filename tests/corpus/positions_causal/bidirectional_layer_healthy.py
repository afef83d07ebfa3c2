"""The recurrent layer of a forecaster runs forwards."""

import torch
from torch import nn


class Forecaster(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(2, 3, batch_first=True)

    def forward(self, x):
        return self.rnn(x)[0]


model = Forecaster()
batch = torch.randn(2, 6, 2)
