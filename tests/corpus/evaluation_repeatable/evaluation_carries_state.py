"""A counter in the model moves the result on."""

import torch
from torch import nn


class Annealed(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, inputs):
        self.seen += 1  # guilty: evaluation-carries-state
        return self.layer(inputs) * self.seen


model = Annealed()


def evaluate():
    return model(torch.ones(2, 4)).mean().item()
