"""A contrastive loss over the whole batch, sent back through the micro-batches one by one."""

import torch
from torch import nn

model = nn.Linear(6, 4)
x = torch.randn(8, 6)

optimizer = torch.optim.SGD(model.parameters(), lr=0.1)


def contrast(embedded):
    logits = nn.functional.normalize(embedded, dim=1) @ nn.functional.normalize(embedded, dim=1).T
    return nn.functional.cross_entropy(5 * logits, torch.arange(8).roll(1))


def full_loss():
    return contrast(model(x))


def step():
    optimizer.zero_grad()
    with torch.no_grad():
        embedded = torch.cat([model(part) for part in x.split(2)])
    embedded.requires_grad_()
    (gradient,) = torch.autograd.grad(contrast(embedded), embedded)
    for part, direction in zip(x.split(2), gradient.split(2), strict=True):
        model(part).backward(direction)
    optimizer.step()
