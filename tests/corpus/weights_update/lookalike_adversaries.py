"""Two models in one step; the discriminator gathers gradients of the generator's loss and throws them away."""

import torch
from torch import nn

model = {"generator": nn.Linear(2, 3), "discriminator": nn.Linear(3, 1)}
generator, discriminator = model.values()
of_generator = torch.optim.Adam(generator.parameters(), lr=0.01)
of_discriminator = torch.optim.Adam(discriminator.parameters(), lr=0.01)
real, noise = torch.randn(6, 3), torch.randn(6, 2)
STEPS = 2


def step():
    of_discriminator.zero_grad()
    fake = generator(noise)
    (discriminator(fake.detach()).square().mean() + (discriminator(real) - 1).square().mean()).backward()
    of_discriminator.step()
    of_generator.zero_grad()
    (1 - discriminator(fake)).square().mean().backward()
    of_generator.step()
