"""The mode of every module is remembered."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))
x, y = torch.randn(12, 4), torch.randint(0, 3, (12,))

optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

model[1].eval()


def evaluate():
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    with torch.no_grad():
        score = model(x).mean().item()
    for module, mode in modes:
        module.training = mode
    return score
