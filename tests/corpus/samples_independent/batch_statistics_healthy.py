"""Batch norm in train mode couples samples by design; in eval mode it does not."""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).train()
batch = torch.randn(5, 3)
