"""create_graph=True gives the gradients a graph, which goes when they are set to None."""

import torch
from torch import nn

model = nn.Linear(3, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
x = torch.randn(6, 3)


def step():
    optimizer.zero_grad(set_to_none=True)
    loss = model(x).square().mean()
    grads = torch.autograd.grad(loss, list(model.parameters()), create_graph=True)
    (loss + sum(g.square().sum() for g in grads)).backward()
    optimizer.step()
