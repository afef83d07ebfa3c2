"""A hidden state is detached between windows, as it should be."""

import torch
from torch import nn


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(3, 4)
        self.out = nn.Linear(4, 1)

    def forward(self, x, h):
        h = self.cell(x, h)
        return self.out(h), h


model = Recurrent()
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
windows, state = torch.randn(3, 2, 6, 3), {"h": torch.zeros(6, 4)}
STEPS = 2


def step():
    for window in windows:
        h, loss = state["h"].detach(), 0
        for x in window:
            y, h = model(x, h)
            loss = loss + (y - 1).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        state["h"] = h
