"""A reparametrized weight: what is registered is not what the layer is called with."""

import torch
from torch import nn
from torch.nn.utils import parametrizations

model = nn.Sequential(parametrizations.weight_norm(nn.Linear(3, 4)), nn.PReLU(), nn.Linear(4, 1))
optimizer = torch.optim.RMSprop(model.parameters(), lr=0.01)
x = torch.randn(6, 3)


def step():
    optimizer.zero_grad()
    (model(x) - 1).square().mean().backward()
    optimizer.step()
