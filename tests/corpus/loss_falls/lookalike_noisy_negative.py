"""A negative log-likelihood that goes below zero, over random mini-batches."""

import torch
from torch import nn
from torch.nn import functional

STEPS, BY = 80, 0.5
model = nn.Linear(2, 2)
data = torch.randn(64, 2)
target = 0.1 * data.sum(1) + 0.01 * torch.randn(64)
optimizer = torch.optim.Adam(model.parameters(), lr=0.05)


def step():
    rows = torch.randint(0, 64, (16,))
    mean, log_std = model(data[rows]).unbind(1)
    loss = functional.gaussian_nll_loss(mean, target[rows], (2 * log_std).exp())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss
