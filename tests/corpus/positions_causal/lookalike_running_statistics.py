"""A series normalised with the mean of its past."""

import torch
from torch import nn


class Running(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.Linear(1, 2)

    def forward(self, x):
        count = torch.arange(1, x.shape[1] + 1).view(1, -1, 1)
        return self.out(x - x.cumsum(1) / count)


model = Running()
batch = 100 + torch.randn(3, 9, 1)
