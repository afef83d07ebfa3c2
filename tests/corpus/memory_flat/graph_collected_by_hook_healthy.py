"""A forward hook records activations detached."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x, activations = torch.randn(6, 3), {"first": []}
model[0].register_forward_hook(lambda _, inputs, out: activations["first"].append(out.detach()))


def step():
    optimizer.zero_grad()
    model(x).square().mean().backward()
    optimizer.step()
