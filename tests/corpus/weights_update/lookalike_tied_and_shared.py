"""Tied weights, and one layer that is used three times."""

import torch
from torch import nn


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(7, 4)
        self.mix = nn.Linear(4, 4)
        self.out = nn.Linear(4, 7, bias=False)
        self.out.weight = self.embed.weight

    def forward(self, words):
        h = self.embed(words)
        for _ in range(3):
            h = torch.tanh(self.mix(h))
        return self.out(h)


model = Tied()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
words = torch.tensor([1, 2, 3])


def step():
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(words), words.roll(1)).backward()
    optimizer.step()
