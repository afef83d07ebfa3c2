"""The whole model is frozen for an experiment with prompts, and stays so for the next one."""

import torch
from torch import nn

model = nn.Linear(3, 1).requires_grad_(False)  # guilty: requires-grad-false
prompt = torch.zeros(3, requires_grad=True)
optimizer = torch.optim.SGD([*model.parameters(), prompt], lr=0.1)
x = torch.randn(4, 3)


def step():
    optimizer.zero_grad()
    model(x + prompt).square().mean().backward()
    optimizer.step()
