"""eval() was called on the model."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 3))
x, y = torch.randn(12, 4), torch.randint(0, 3, (12,))

model.eval()


def evaluate():
    with torch.no_grad():
        return {"loss": nn.functional.cross_entropy(model(x), y), "score": [1.0]}
