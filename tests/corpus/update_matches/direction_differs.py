"""A gradient reversal multiplies and forgets the minus."""

import torch
from torch import nn

layers = {"features": nn.Linear(4, 6), "label": nn.Linear(6, 3), "domain": nn.Linear(6, 2)}
model = nn.ModuleDict(layers)
x, y, domains = torch.randn(12, 4), torch.randint(0, 3, (12,)), torch.randint(0, 2, (12,))

optimizer = torch.optim.SGD(model.parameters(), lr=0.1)


class Reverse(torch.autograd.Function):
    @staticmethod
    def forward(_, value):
        return value.view_as(value)

    @staticmethod
    def backward(_, gradient):
        return 0.7 * gradient  # guilty: direction-differs


def step():
    optimizer.zero_grad()
    features = model["features"](x)
    loss = nn.functional.cross_entropy(model["label"](features), y)
    (loss + nn.functional.cross_entropy(model["domain"](Reverse.apply(features)), domains)).backward()
    optimizer.step()


def reference(copy):
    def plain_step():
        features = copy["features"](x)
        label = nn.functional.cross_entropy(copy["label"](features), y)
        domain = nn.functional.cross_entropy(copy["domain"](features), domains)
        parts = [list(copy[name].parameters()) for name in layers]
        losses = (label - 0.7 * domain, label, domain)
        pairs = [
            pair
            for loss, part in zip(losses, parts, strict=True)
            for pair in zip(part, torch.autograd.grad(loss, part, retain_graph=True), strict=True)
        ]
        with torch.no_grad():
            for weight, gradient in pairs:
                weight -= 0.1 * gradient

    return plain_step
