"""The mask begins one diagonal too far: each token sees the one it is to predict."""

import torch
from torch import nn


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(20, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.out = nn.Linear(8, 20)

    def forward(self, ids):
        n, h = ids.shape[1], self.embed(ids)
        mask = torch.ones(n, n, dtype=torch.bool).triu(2)  # guilty: window-reaches-ahead
        return self.out(self.attention(h, h, h, attn_mask=mask, need_weights=False)[0])


model = Decoder()
batch = torch.randint(0, 20, (2, 7))
