"""Inner updates of functional copies, through which the outer loss reaches the model."""

import torch
from torch import nn
from torch.func import functional_call

model = nn.Linear(3, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x = torch.randn(6, 3)


def step():
    weights = dict(model.named_parameters())
    for _ in range(2):
        loss = functional_call(model, weights, (x,)).square().mean()
        gradients = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
        pairs = zip(weights.items(), gradients, strict=True)
        weights = {name: one - 0.1 * grad for (name, one), grad in pairs}
    optimizer.zero_grad()
    (functional_call(model, weights, (x,)) - 1).square().mean().backward()
    optimizer.step()
