"""A gate takes its softmax over its own scores."""

import torch
from torch import nn


class Gate(nn.Module):
    def __init__(self):
        super().__init__()
        self.score, self.value = nn.Linear(3, 4), nn.Linear(3, 4)

    def forward(self, x):
        return self.score(x).softmax(dim=-1) * self.value(x)


model = Gate()
batch = torch.randn(5, 3)
