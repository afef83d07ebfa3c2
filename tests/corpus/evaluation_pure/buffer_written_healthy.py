"""The hidden state is kept and put back."""

import torch
from torch import nn


class Stateful(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(4, 5)
        self.register_buffer("hidden", torch.zeros(12, 5))

    def forward(self, inputs):
        self.hidden = self.cell(inputs, self.hidden).detach()
        return self.hidden


model = Stateful()
x = torch.randn(12, 4)

optimizer = torch.optim.SGD(model.parameters(), lr=0.1)


def evaluate():
    kept = model.hidden.clone()
    with torch.no_grad():
        score = model(x).mean().item()
    model.hidden = kept
    return score
