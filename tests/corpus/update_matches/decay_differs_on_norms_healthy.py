"""The groups are built by the number of dimensions."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Tanh(), nn.Linear(8, 3))
x, y = torch.randn(12, 4), torch.randint(0, 3, (12,))


def groups(net, *, spared):
    return [
        {"params": [p for n, p in net.named_parameters() if not spared(n, p)], "weight_decay": 0.1},
        {"params": [p for n, p in net.named_parameters() if spared(n, p)], "weight_decay": 0.0},
    ]


decayed = groups(model, spared=lambda _, weight: weight.dim() < 2)
optimizer = torch.optim.AdamW(decayed, lr=0.01)


def step():
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(x), y).backward()
    optimizer.step()


def reference(copy):
    plain = torch.optim.AdamW(groups(copy, spared=lambda _, weight: weight.dim() < 2), lr=0.01, foreach=False)

    def plain_step():
        plain.zero_grad()
        nn.functional.cross_entropy(copy(x), y).backward()
        plain.step()

    return plain_step
