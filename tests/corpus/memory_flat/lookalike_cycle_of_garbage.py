"""Each step leaves a cycle of garbage that holds its loss; the collector frees it."""

import torch
from torch import nn

model = nn.Linear(3, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
x = torch.randn(6, 3)


def step():
    loss = model(x).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    state = {"loss": loss}
    state["self"] = state
