"""The stream of torch is seeded inside fork_rng, which puts it back."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
x, y = torch.randn(12, 4), torch.randint(0, 3, (12,))

optimizer = torch.optim.SGD(model.parameters(), lr=0.1)


def evaluate():
    with torch.no_grad():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(10)
            noise = torch.randn(8, 4)
        return model(noise + torch.randn(8, 4)).mean().item()
