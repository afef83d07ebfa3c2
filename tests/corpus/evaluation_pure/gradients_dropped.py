"""In the middle of an accumulation window, validation clears the gradients."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
x, y = torch.randn(12, 4), torch.randint(0, 3, (12,))

optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

(nn.functional.cross_entropy(model(x), y) / 4).backward()


def evaluate():
    with torch.no_grad():
        score = model(x).mean().item()
    optimizer.zero_grad()  # guilty: gradients-dropped
    return score
