"""The best checkpoint is loaded and the present weights after it, into the same tensors."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
x, y = torch.randn(12, 4), torch.randint(0, 3, (12,))

optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

best = {name: value.clone() for name, value in model.state_dict().items()}


def evaluate():
    now = {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(best)
    score = model(x).mean().item()
    model.load_state_dict(now)
    return score
