"""A hidden state is carried from segment to segment and cut off."""

import torch
from torch import nn

model = nn.GRU(2, 3, batch_first=True)
x, carried = torch.randn(4, 5, 2), {"h": torch.zeros(1, 4, 3)}


def step():
    out, h = model(x, carried["h"])
    grads = torch.autograd.grad(out.square().mean(), list(model.parameters()), retain_graph=True)
    for p, g in zip(model.parameters(), grads, strict=True):
        p.data = p.data - 0.05 * g
    carried["h"] = h.detach()
