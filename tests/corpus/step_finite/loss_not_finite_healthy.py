"""Attention with minus infinity in its mask, and a perplexity in the log that is infinite."""

import torch
from torch import nn


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.k = nn.Linear(4, 4), nn.Linear(4, 4)
        self.register_buffer("best", torch.tensor(float("inf")))

    def forward(self, x):
        future = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        scores = (self.q(x) @ self.k(x).transpose(1, 2)).masked_fill(future, float("-inf"))
        return scores.softmax(-1) @ x


model = Attention()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x = torch.randn(2, 5, 4)
STEPS = 2


def step():
    optimizer.zero_grad()
    loss = (model(x) - 20).square().mean()
    loss.backward()
    optimizer.step()
    return {"perplexity": loss.exp(), "missing": torch.tensor(float("nan"))}
