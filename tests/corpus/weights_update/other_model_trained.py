"""The learner and the target are two copies, and the optimizer got the wrong one."""

import copy

import torch
from torch import nn

model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
target = copy.deepcopy(model)
optimizer = torch.optim.Adam(target.parameters(), lr=0.01)  # guilty: other-model-trained
x = torch.randn(6, 3)


def step():
    optimizer.zero_grad()
    (model(x) - target(x) - 1).square().mean().backward()
    optimizer.step()
