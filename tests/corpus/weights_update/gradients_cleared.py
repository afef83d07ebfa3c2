"""A logger in the middle of the step tidies up after itself."""

import torch
from torch import nn

STILL = True

model = nn.Linear(3, 1)
optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
x, norms = torch.randn(8, 3), []


def log_gradients():
    norms.append(float(model.weight.grad.norm()))
    model.zero_grad()  # guilty: gradients-cleared


def step():
    model(x).square().mean().backward()
    log_gradients()
    optimizer.step()
