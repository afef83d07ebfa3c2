"""The mask of a curriculum leaves no sample over; what moves is the momentum of the phase before."""

import torch
from torch import nn

model = nn.Linear(3, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
x = torch.randn(6, 3)


def train(mask):
    optimizer.zero_grad()
    (model(x).square() * mask).mean().backward()
    optimizer.step()


train(torch.ones(6, 1))


def step():
    train(torch.zeros(6, 1))  # guilty: momentum-only
