"""no_grad saves the memory."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
x, y = torch.randn(12, 4), torch.randint(0, 3, (12,))

optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

model[0].requires_grad_(False)


def evaluate():
    with torch.no_grad():
        return model(x).mean().item()
