"""LBFGS, whose closure runs backward several times inside one step."""

import torch
from torch import nn

model = nn.Linear(3, 1)
optimizer = torch.optim.LBFGS(model.parameters(), max_iter=3)
x, y = torch.randn(8, 3), torch.randn(8, 1)


def step():
    def closure():
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        return loss

    optimizer.step(closure)
