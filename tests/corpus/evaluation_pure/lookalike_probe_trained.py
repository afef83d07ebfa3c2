"""A fresh probe is trained on detached features; the encoder is not touched."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
x, y = torch.randn(12, 4), torch.randint(0, 3, (12,))

optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

nn.functional.cross_entropy(model(x), y).backward()


def evaluate():
    features = model(x).detach()
    probe = nn.Linear(3, 3)
    stepper = torch.optim.Adam(probe.parameters(), lr=0.1)
    for _ in range(3):
        stepper.zero_grad()
        nn.functional.cross_entropy(probe(features), y).backward()
        stepper.step()
    return probe(features).argmax(1).tolist()
