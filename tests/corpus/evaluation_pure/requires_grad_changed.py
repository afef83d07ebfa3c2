"""To save memory all gradients are switched off and on again, those of the frozen layer too."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
x, y = torch.randn(12, 4), torch.randint(0, 3, (12,))

optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

model[0].requires_grad_(False)


def evaluate():
    model.requires_grad_(False)
    score = model(x).mean().item()
    model.requires_grad_(True)  # guilty: requires-grad-changed
    return score
