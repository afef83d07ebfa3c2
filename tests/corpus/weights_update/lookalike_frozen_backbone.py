"""A frozen backbone in eval mode under no_grad, a head that is trained, an empty parameter."""

import torch
from torch import nn

model = nn.ModuleDict({"backbone": nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), "head": nn.Linear(4, 2)})
model["backbone"].requires_grad_(False).eval()
model["head"].register_parameter("nothing", nn.Parameter(torch.zeros(0, 4)))
optimizer = torch.optim.SGD([one for one in model.parameters() if one.requires_grad], lr=0.1)
x = torch.randn(6, 3)


def step():
    with torch.no_grad():
        features = model["backbone"](x)
    optimizer.zero_grad()
    model["head"](features).square().mean().backward()
    optimizer.step()
