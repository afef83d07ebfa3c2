"""A parameter in units of a timestamp: float32 has no room left for the update."""

import torch
from torch import nn

STILL = True


class Clock(nn.Module):
    def __init__(self):
        super().__init__()
        self.origin = nn.Parameter(torch.full((4,), 1.7e9))  # guilty: update-underflow

    def forward(self, t):
        return t - self.origin


model = Clock()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
t = 1.7e9 + torch.arange(4) * 1e3


def step():
    optimizer.zero_grad()
    (model(t) - 500).square().mean().backward()
    optimizer.step()
