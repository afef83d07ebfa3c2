"""Test-time adaptation trains a deep copy."""

import copy

import torch
from torch import nn

model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
x, y = torch.randn(12, 4), torch.randint(0, 3, (12,))

optimizer = torch.optim.SGD(model.parameters(), lr=0.1)


def adapt(net, stepper):
    stepper.zero_grad()
    chances = net(x).softmax(1)
    (-(chances * chances.log()).sum(1).mean()).backward()
    stepper.step()
    return net(x).argmax(1).tolist()


def evaluate():
    twin = copy.deepcopy(model)
    return adapt(twin, torch.optim.SGD(twin.parameters(), lr=0.1))
