"""Gains of about 1 in bfloat16, whose next number is 0.0078 away."""

import torch
from torch import nn

STILL = True
STEPS = 3


class Gain(nn.Module):
    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(16, dtype=torch.bfloat16))  # guilty: update-underflow

    def forward(self, x):
        return x * self.gain


model = Gain()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
x = torch.randn(4, 16, dtype=torch.bfloat16)


def step():
    optimizer.zero_grad()
    (model(x) - 2).square().mean().backward()
    optimizer.step()
