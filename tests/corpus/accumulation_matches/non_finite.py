"""A micro-batch without any label has a mean over nothing."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
x, y = torch.randn(12, 4), torch.randint(0, 3, (12,))
labelled = torch.tensor([1.0, 1, 1, 0, 0, 0, 1, 1, 1, 1, 1, 1])

optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

micro = list(zip(x.chunk(4), y.chunk(4), labelled.chunk(4), strict=True))


def full_loss():
    return (nn.functional.cross_entropy(model(x), y, reduction="none") * labelled).sum() / labelled.sum()


def step():
    optimizer.zero_grad()
    for part, labels, known in micro:
        losses = nn.functional.cross_entropy(model(part), labels, reduction="none") * known
        (losses.sum() / known.sum() / 4).backward()  # guilty: non-finite
    optimizer.step()
