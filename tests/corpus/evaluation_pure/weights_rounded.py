"""The model is halved for speed and made whole again: the rounding stays."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
x, y = torch.randn(12, 4), torch.randint(0, 3, (12,))

optimizer = torch.optim.SGD(model.parameters(), lr=0.1)


def evaluate():
    with torch.no_grad():
        model.half()  # guilty: weights-rounded
        score = model(x.half()).mean().item()
        model.float()
        return score
