"""A cache of positions, not part of the state, grows with the first longer text."""

import torch
from torch import nn


class Positions(nn.Module):
    def __init__(self):
        super().__init__()
        self.mix = nn.Linear(4, 4)
        self.register_buffer("table", torch.ones(2, 4), persistent=False)

    def forward(self, inputs):
        if len(inputs) > len(self.table):
            self.table = torch.ones(len(inputs), 4)
        return self.mix(inputs * self.table[: len(inputs)])


model = Positions()


def evaluate():
    return model(torch.ones(6, 4)).mean().item()
