"""A small transformer that writes one character after another, trained on this project's own README."""

from pathlib import Path

import torch
from torch import nn

TEXT = Path(__file__).parents[2].joinpath("README.md").read_text(encoding="utf-8")
LETTERS = sorted(set(TEXT))


def encode(text):
    number = {letter: index for index, letter in enumerate(LETTERS)}
    return torch.tensor([number[letter] for letter in text])


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.before_attention = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.before_mlp = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x, mask):
        seen = self.before_attention(x)
        attended, _ = self.attention(seen, seen, seen, attn_mask=mask, need_weights=False)
        x = x + attended
        return x + self.mlp(self.before_mlp(x))


class CharTransformer(nn.Module):
    def __init__(self, width=48, heads=4, layers=2, context=48):
        super().__init__()
        letters = len(LETTERS)
        self.context = context
        self.embed = nn.Embedding(letters, width)
        self.position = nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, letters, bias=False)
        nn.init.normal_(self.embed.weight, std=0.02)
        nn.init.normal_(self.position.weight, std=0.02)
        self.head.weight = self.embed.weight  # tied: one tensor under two names

    def forward(self, letters):
        length = letters.shape[1]
        mask = torch.full((length, length), float("-inf"), device=letters.device).triu(1)
        x = self.embed(letters) + self.position(torch.arange(length, device=letters.device))
        for block in self.blocks:
            x = block(x, mask)
        return self.head(self.norm(x))


def draw_batch(data, context, size=16):
    """Cut random pieces out of the text; the target of each letter is the next one."""
    starts = torch.randint(len(data) - context - 1, (size,)).tolist()
    pieces = torch.stack([data[start : start + context + 1] for start in starts])
    return pieces[:, :-1], pieces[:, 1:]


def make_optimizer(model, lr=3e-3, warmup=10):
    """Build AdamW and a schedule that warms up from 0: the very first step does not move anything."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=lr)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, step / warmup))
    return optimizer, schedule


def train_step(model, optimizer, schedule, batch):
    letters, following = batch
    loss = nn.functional.cross_entropy(model(letters).flatten(0, 1), following.flatten())
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    schedule.step()
    return loss.item()


def train(model, optimizer, schedule, steps):
    data = encode(TEXT)
    return [train_step(model, optimizer, schedule, draw_batch(data, model.context)) for _ in range(steps)]


@torch.no_grad()
def write(model, beginning, count=200):
    """Continue a text, always with the likeliest letter."""
    letters = encode(beginning).unsqueeze(0)
    for _ in range(count):
        following = model(letters[:, -model.context :])[:, -1].argmax(dim=-1, keepdim=True)
        letters = torch.cat([letters, following], dim=1)
    return "".join(LETTERS[letter] for letter in letters[0].tolist())


def main():
    torch.manual_seed(0)
    model = CharTransformer()
    optimizer, schedule = make_optimizer(model)
    losses = train(model, optimizer, schedule, steps=500)
    print(f"loss {losses[0]:.2f} -> {losses[-1]:.2f}\n{write(model, 'The ')}")


if __name__ == "__main__":
    main()
