"""The same gains and the same rate, in bfloat16 as an offset from 1."""

import torch
from torch import nn


class Gain(nn.Module):
    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.zeros(16, dtype=torch.bfloat16))

    def forward(self, x):
        return x * (1 + self.gain)


model = Gain()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
x = torch.randn(4, 16, dtype=torch.bfloat16)


def step():
    optimizer.zero_grad()
    (model(x) - 2).square().mean().backward()
    optimizer.step()
