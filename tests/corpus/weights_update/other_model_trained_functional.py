"""Inner updates of functional copies, of which nothing returns to the model."""

import torch
from torch import nn
from torch.func import functional_call

model = nn.Linear(3, 1)
x = torch.randn(6, 3)


def step():
    weights = {name: one.detach().clone().requires_grad_() for name, one in model.named_parameters()}
    for _ in range(3):
        loss = functional_call(model, weights, (x,)).square().mean()
        gradients = torch.autograd.grad(loss, list(weights.values()))
        pairs = zip(weights.items(), gradients, strict=True)
        weights = {name: one - 0.1 * grad for (name, one), grad in pairs}  # guilty: other-model-trained
    return loss
