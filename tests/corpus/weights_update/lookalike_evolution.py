"""No gradient at all: a population is evaluated, and the weights are overwritten with the best."""

import torch
from torch import nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

model = nn.Linear(3, 1)
x, y = torch.randn(6, 3), torch.full((6, 1), 50.0)


@torch.no_grad()
def step():
    center = parameters_to_vector(model.parameters())
    losses = {}
    for sign in (1, -1):
        vector_to_parameters(center + sign, model.parameters())
        losses[sign] = nn.functional.mse_loss(model(x), y).item()
    vector_to_parameters(center + min(losses, key=losses.get), model.parameters())
