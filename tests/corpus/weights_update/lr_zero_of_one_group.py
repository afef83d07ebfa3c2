"""Layer-wise decay whose first factor is 0 ** 1; the rate of the group is a tensor."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 1))
groups = [
    {"params": layer.parameters(), "lr": torch.tensor(0.1 * place)}  # guilty: lr-zero
    for place, layer in enumerate([model[0], model[2]])
]
optimizer = torch.optim.Adam(groups, lr=0.1)
x = torch.randn(4, 3)


def step():
    optimizer.zero_grad()
    model(x).square().mean().backward()
    optimizer.step()
