"""The bias of the keys moves all scores of a query alike: its gradient is rounding noise."""

import torch
from torch import nn


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.k, self.out = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.out((self.q(x) @ self.k(x).transpose(1, 2)).softmax(-1) @ x)


model = Attention()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x = torch.randn(3, 5, 4)


def step():
    optimizer.zero_grad()
    model(x).square().mean().backward()
    optimizer.step()
