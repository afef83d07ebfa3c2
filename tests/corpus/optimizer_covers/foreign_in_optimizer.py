"""The optimizer trains the teacher as well."""

import torch
from torch import nn

student, teacher = nn.Linear(4, 2), nn.Linear(4, 2)
model = student
optimizer = torch.optim.Adam([*student.parameters(), *teacher.parameters()])  # guilty: foreign-in-optimizer
