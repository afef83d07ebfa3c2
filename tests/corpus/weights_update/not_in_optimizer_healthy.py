"""The second half joins the optimizer later, inside the step."""

import torch
from torch import nn

STEPS = 2

model = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3), nn.Linear(3, 1))
optimizer = torch.optim.AdamW(model[2].parameters(), lr=0.01)
x, calls = torch.randn(4, 3), []


def step():
    calls.append(1)
    if len(calls) == 2:
        optimizer.add_param_group({"params": [*model[0].parameters(), *model[1].parameters()]})
    optimizer.zero_grad()
    model(x).square().mean().backward()
    optimizer.step()
