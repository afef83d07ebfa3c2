"""Each head steps after its own loss; the trunk gathers both gradients and steps once."""

import torch
from torch import nn

model = nn.ModuleDict({"trunk": nn.Linear(3, 4), "a": nn.Linear(4, 1), "b": nn.Linear(4, 1)})
optimizers = {name: torch.optim.SGD(model[name].parameters(), lr=0.1) for name in model}
x = torch.randn(8, 3)


def step():
    for optimizer in optimizers.values():
        optimizer.zero_grad()
    for head in ("a", "b"):
        model[head](model["trunk"](x).tanh()).square().mean().backward()
        optimizers[head].step()
    optimizers["trunk"].step()


STEPS = 3
