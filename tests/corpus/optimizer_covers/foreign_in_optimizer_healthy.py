"""Student and teacher are judged together."""

import torch
from torch import nn

student, teacher = nn.Linear(4, 2), nn.Linear(4, 2)
model = {"student": student, "teacher": teacher}
optimizer = torch.optim.Adam([*student.parameters(), *teacher.parameters()])
