"""Ten samples in chunks of four: the last two count double."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
x, y = torch.randn(12, 4), torch.randint(0, 3, (12,))
x, y = x[:10], y[:10]

optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

micro = list(zip(x.split(4), y.split(4), strict=True))


def full_loss():
    return nn.functional.cross_entropy(model(x), y)


def step():
    optimizer.zero_grad()
    for part, labels in micro:
        (nn.functional.cross_entropy(model(part), labels) / len(micro)).backward()  # guilty: micro-batches-misweighted
    optimizer.step()
