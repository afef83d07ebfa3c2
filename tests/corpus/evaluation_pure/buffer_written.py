"""A hidden state is kept in a buffer, and validation goes on from it and writes it."""

import torch
from torch import nn


class Stateful(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(4, 5)
        self.register_buffer("hidden", torch.zeros(12, 5))

    def forward(self, inputs):
        self.hidden = self.cell(inputs, self.hidden).detach()
        return self.hidden


model = Stateful()
x = torch.randn(12, 4)

optimizer = torch.optim.SGD(model.parameters(), lr=0.1)


def evaluate():
    with torch.no_grad():
        return model(x).mean().item()  # guilty: buffer-written
