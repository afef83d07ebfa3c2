"""log_softmax in the place of the logarithm of softmax."""

import torch
from torch import nn
from torch.nn import functional

EXPECTED, RTOL = 1.0986, 0.2
model = nn.Linear(4, 3)
x, y = torch.randn(60, 4), torch.arange(60) % 3


def loss_fn():
    return -(functional.log_softmax(model(x), 1) * functional.one_hot(y, 3)).sum(1).mean()
