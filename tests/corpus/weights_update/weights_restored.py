"""The best weights are loaded back at the end, and the best are always the first."""

import copy

import torch
from torch import nn

model = nn.Linear(3, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x = torch.randn(6, 3)


def step():
    best, lowest = copy.deepcopy(model.state_dict()), 0.0
    for _ in range(3):
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step()
        if loss.item() < lowest:
            best, lowest = copy.deepcopy(model.state_dict()), loss.item()
    model.load_state_dict(best)  # guilty: weights-restored
