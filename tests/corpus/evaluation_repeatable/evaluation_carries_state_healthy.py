"""A counter in the model is read by nobody."""

import torch
from torch import nn


class Annealed(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, inputs):
        self.seen += 1
        return self.layer(inputs)


model = Annealed()


def evaluate():
    return model(torch.ones(2, 4)).mean().item()
