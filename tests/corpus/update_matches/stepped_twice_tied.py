"""A tied matrix is in two optimizers and is updated twice."""

import torch
from torch import nn

model = nn.Sequential(nn.Embedding(9, 5), nn.Tanh(), nn.Linear(5, 9))
model[2].weight = model[0].weight
x, y = torch.randint(0, 9, (20,)), torch.randint(0, 9, (20,))

first = torch.optim.SGD(model[0].parameters(), lr=0.1)
second = torch.optim.SGD(model[2].parameters(), lr=0.1)  # guilty: stepped-twice


def step():
    model.zero_grad()
    nn.functional.cross_entropy(model(x), y).backward()
    first.step()
    second.step()


def reference(copy):
    def plain_step():
        gradients = torch.autograd.grad(nn.functional.cross_entropy(copy(x), y), list(copy.parameters()))
        with torch.no_grad():
            for weight, gradient in zip(copy.parameters(), gradients, strict=True):
                weight -= 0.1 * gradient

    return plain_step
