"""Adam in mid-training, attention whose bias of the keys has no gradient but rounding, and clipping."""

import torch
from torch import nn

model = nn.MultiheadAttention(8, 2, batch_first=True, dropout=0.1)
x = torch.randn(8, 6, 8)
optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
MAX_NORM = 0.01


def loss_of(part):
    return model(part, part, part, need_weights=False)[0].square().mean()


def full_loss():
    return loss_of(x)


def step():
    optimizer.zero_grad()
    for part in x.split([5, 1, 2]):
        (loss_of(part) * len(part) / 8).backward()
    nn.utils.clip_grad_norm_(model.parameters(), MAX_NORM)
    optimizer.step()


for _ in range(3):
    step()
