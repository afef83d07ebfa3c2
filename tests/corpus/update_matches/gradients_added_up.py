"""The gradient at the perturbed weights is added to the one that perturbed them."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
x, y = torch.randn(12, 4), torch.randint(0, 3, (12,))

optimizer = torch.optim.SGD(model.parameters(), lr=0.1)


def step():
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(x), y).backward()
    with torch.no_grad():
        moved = [(weight, 0.05 * weight.grad / weight.grad.norm()) for weight in model.parameters()]
        for weight, shift in moved:
            weight += shift
    nn.functional.cross_entropy(model(x), y).backward()  # guilty: gradients-added-up
    with torch.no_grad():
        for weight, shift in moved:
            weight -= shift
    optimizer.step()


def reference(copy):
    def plain_step():
        weights = dict(copy.named_parameters())
        first = torch.autograd.grad(nn.functional.cross_entropy(copy(x), y), list(weights.values()))
        shifted = {
            name: (weight + 0.05 * gradient / gradient.norm()).detach().requires_grad_()
            for (name, weight), gradient in zip(weights.items(), first, strict=True)
        }
        loss = nn.functional.cross_entropy(torch.func.functional_call(copy, shifted, (x,)), y)
        second = torch.autograd.grad(loss, list(shifted.values()))
        with torch.no_grad():
            for weight, gradient in zip(weights.values(), second, strict=True):
                weight -= 0.1 * gradient

    return plain_step
