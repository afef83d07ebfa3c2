"""Tokens and their mask as keyword arguments, and an output with more in it than rows."""

import torch
from torch import nn


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.out = nn.Embedding(20, 4), nn.Linear(4, 3)

    def forward(self, ids, mask):
        h = self.embed(ids) * mask[..., None]
        return {"logits": self.out(h.sum(1) / mask.sum(1, keepdim=True)), "loss": h.mean()}


model = Tagger()
batch = {
    "ids": torch.randint(0, 20, (3, 5)),
    "mask": torch.tensor([[1.0, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0]]),
}
