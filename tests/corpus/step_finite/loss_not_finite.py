"""Cross entropy by hand: the logarithm of a probability that is exactly 0."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x, y = 1000 * torch.randn(8, 3), torch.randint(0, 2, (8, 1)).float()


def step():
    optimizer.zero_grad()
    p = model(x).sigmoid()
    loss = -(y * p.log() + (1 - y) * (1 - p).log()).mean()  # guilty: loss-not-finite
    loss.backward()
    optimizer.step()
    return loss
