"""Batch norm without running statistics normalises with the batch, in eval mode too."""

import torch
from torch import nn

model = nn.Sequential(
    nn.Linear(3, 4), nn.BatchNorm1d(4, track_running_stats=False), nn.Linear(4, 2)
)  # guilty: batch-statistics
batch = torch.randn(5, 3)
