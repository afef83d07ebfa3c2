"""Validation steps the scheduler, which lowers the rate."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
x, y = torch.randn(12, 4), torch.randint(0, 3, (12,))

optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

optimizer.zero_grad()
nn.functional.cross_entropy(model(x), y).backward()
optimizer.step()
schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
schedule.step(0.0)


def evaluate():
    with torch.no_grad():
        score = nn.functional.cross_entropy(model(x), y).item()
    schedule.step(score)  # guilty: optimizer-changed
    return score
