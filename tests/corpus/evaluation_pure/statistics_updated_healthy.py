"""Monte-Carlo dropout: only the dropout layers are in train mode while it evaluates."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))
x, y = torch.randn(12, 4), torch.randint(0, 3, (12,))

optimizer = torch.optim.SGD(model.parameters(), lr=0.1)


def evaluate():
    before = {module: module.training for module in model.modules()}
    model.eval()
    model[3].train()
    with torch.no_grad():
        spread = torch.stack([model(x) for _ in range(5)]).std(0).mean().item()
    for module, mode in before.items():
        module.training = mode
    return spread
