"""Dropout in train mode, group norm and a flattening of the batch: samples stay apart."""

import torch
from torch import nn

model = nn.Sequential(
    nn.Conv1d(2, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(24, 3)
).train()
batch = torch.randn(4, 2, 6)
