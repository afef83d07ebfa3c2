"""The first of several epochs over one batch: the loss is 0, its gradient is not."""

import torch
from torch import nn

model = nn.Linear(3, 2)
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
x, actions, advantages = torch.randn(6, 3), torch.tensor([0, 1, 0, 0, 1, 1]), torch.randn(6)
advantages -= advantages.mean()


def log_probability():
    return model(x).log_softmax(-1).gather(1, actions[:, None]).squeeze(1)


def step():
    old = log_probability().detach()
    for _ in range(2):
        optimizer.zero_grad()
        ratio = (log_probability() - old).exp()
        (-torch.min(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages).mean()).backward()
        optimizer.step()
