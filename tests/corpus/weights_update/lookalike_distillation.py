"""A teacher of the same class with the same names, alive and never trained; its loss is a target."""

import copy

import torch
from torch import nn

model = nn.Linear(3, 4)
teacher = copy.deepcopy(model).eval()
nn.init.normal_(teacher.weight)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x = torch.randn(6, 3)


def step():
    optimizer.zero_grad()
    with torch.no_grad():
        target = teacher(x).softmax(-1)
    nn.functional.kl_div(model(x).log_softmax(-1), target, reduction="batchmean").backward()
    optimizer.step()
