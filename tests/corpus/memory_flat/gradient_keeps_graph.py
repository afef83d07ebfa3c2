"""create_graph=True gives the gradients a graph, and they are added to, step after step."""

import torch
from torch import nn

model = nn.Linear(3, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
x = torch.randn(6, 3)


def step():
    loss = model(x).square().mean()
    loss.backward(create_graph=True)  # guilty: gradient-keeps-graph
    optimizer.step()
