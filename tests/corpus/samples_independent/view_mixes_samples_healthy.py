"""(batch, time, features) is transposed to (time, batch, features)."""

import torch
from torch import nn


class Reader(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.rnn = nn.Embedding(20, 4), nn.GRU(4, 5)

    def forward(self, ids):
        x = self.embed(ids)
        x = x.transpose(0, 1)
        return self.rnn(x)[0][-1]


model = Reader()
batch = torch.randint(0, 20, (4, 6))
