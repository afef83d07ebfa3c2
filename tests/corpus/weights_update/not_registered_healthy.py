"""A dict of registered layers, and beside it a fixed network kept out of the registry on purpose."""

import torch
from torch import nn


class Heads(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(3, 3)
        self.a, self.b = nn.Linear(3, 1), nn.Linear(3, 1)
        self.heads = {"a": self.a, "b": self.b}
        self.judge = (nn.Linear(1, 1).eval(),)

    def forward(self, x):
        h = self.body(x)
        return self.judge[0](self.heads["a"](h) + self.heads["b"](h))


model = Heads()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x = torch.randn(4, 3)


def step():
    optimizer.zero_grad()
    model(x).square().mean().backward()
    optimizer.step()
