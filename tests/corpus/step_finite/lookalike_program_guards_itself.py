"""A loss scale by hand: gradients that overflow are seen and left out."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x, y = torch.randn(8, 3), torch.randn(8, 1)
state = {"scale": 2.0**18}


def step():
    optimizer.zero_grad()
    half = [one.half() for one in model.parameters()]
    h = nn.functional.linear(x.half(), half[0], half[1]).tanh()
    loss = (nn.functional.linear(h, half[2], half[3]).float() - y).square().mean()
    (loss * state["scale"]).backward()
    if not all(one.grad.isfinite().all() for one in model.parameters()):
        state["scale"] /= 2
        return
    for one in model.parameters():
        one.grad /= state["scale"]
    optimizer.step()
