"""A critic is asked for a difference of two means, in which its last bias cancels out."""

import torch
from torch import nn

STEPS = 2
FROZEN = ["generator.*"]

model = {"generator": nn.Linear(2, 3), "critic": nn.Linear(3, 1)}  # guilty: zero-gradient
generator, critic = model.values()
optimizer = torch.optim.Adam(critic.parameters(), lr=0.01)
real, noise = torch.randn(6, 3), torch.randn(6, 2)


def step():
    critic(generator(noise)).mean().backward()
    optimizer.zero_grad()
    (critic(generator(noise).detach()).mean() - critic(real).mean()).backward()
    optimizer.step()
