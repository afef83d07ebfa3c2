"""A softmax in the model, and one in the loss."""

import torch
from torch import nn
from torch.nn import functional

STEPS, BELOW = 60, 0.1
model = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 3), nn.Softmax(dim=1))  # guilty: double-softmax
x, y = torch.randn(9, 4), torch.arange(9) % 3
optimizer = torch.optim.Adam(model.parameters(), lr=0.05)


def step():
    optimizer.zero_grad()
    loss = functional.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    return loss.item()
