"""The stream of torch is seeded, so that each sheet of samples is comparable."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
x, y = torch.randn(12, 4), torch.randint(0, 3, (12,))

optimizer = torch.optim.SGD(model.parameters(), lr=0.1)


def evaluate():
    with torch.no_grad():
        torch.manual_seed(10)  # guilty: stream-reset
        return model(torch.randn(8, 4)).mean().item()
