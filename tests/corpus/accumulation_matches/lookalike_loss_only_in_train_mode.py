"""The model returns its loss in train mode and labels in eval mode: it cannot be compared in eval mode."""

import torch
from torch import nn


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.3), nn.Linear(8, 3))

    def forward(self, inputs, labels=None):
        scores = self.layers(inputs)
        return nn.functional.cross_entropy(scores, labels) if self.training else scores.argmax(1)


model = Classifier()
x, y = torch.randn(12, 4), torch.randint(0, 3, (12,))

optimizer = torch.optim.SGD(model.parameters(), lr=0.1)


def full_loss():
    return model(x, y)


def step():
    optimizer.zero_grad()
    for part, labels in zip(x.chunk(4), y.chunk(4), strict=True):
        (model(part, labels) / 4).backward()
    optimizer.step()
