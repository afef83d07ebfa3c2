"""The loop clears before the step, but the closure is evaluated several times."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1))
optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=4)
x, y = torch.rand(12, 2), torch.rand(12, 1)


def closure():
    loss = (model(x) - y).square().mean()
    loss.backward()
    return loss


def step():
    optimizer.zero_grad()
    optimizer.step(closure)  # guilty: closure-without-clear
