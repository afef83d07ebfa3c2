"""Why an output depends on another sample, or on a later position."""

from __future__ import annotations

from pytest_trainstep._diagnose.catalogue import Entry


def _samples(name: str, fault: str, example: str, fix: str) -> Entry:
    on_purpose = (
        "pass forward= that leaves out what compares samples on purpose (in-batch negatives, a loss over pairs)."
    )
    claims = ("assert_samples_independent",)
    return Entry(name=name, claims=claims, fault=fault, example=example, fix=fix, on_purpose=on_purpose)


def _positions(name: str, fault: str, example: str, fix: str) -> Entry:
    on_purpose = "claim it only of what is causal: pass forward= for that part."
    claims = ("assert_positions_causal",)
    return Entry(name=name, claims=claims, fault=fault, example=example, fix=fix, on_purpose=on_purpose)


ENTRIES: tuple[Entry, ...] = (
    _samples(
        "padding-counted",
        "The output depends on the padding, that is on the length of the longest sample of the batch.",
        "h = embed(pad_sequence(texts, batch_first=True))\npooled = h.mean(1)  # divides by the longest length",
        "leave padded positions out: mask them, and divide by each sample's own length.",
    ),
    _samples(
        "batch-statistics",
        "A layer normalises with the statistics of the batch although the model is in eval mode.",
        "nn.BatchNorm1d(8, track_running_stats=False)\nF.batch_norm(x, None, None, training=True)",
        "keep running statistics, or use a norm within the sample (GroupNorm, LayerNorm, InstanceNorm).",
    ),
    _samples(
        "normalised-over-batch",
        "A softmax, a mean or another normalisation runs over the samples.",
        "gate = scores.softmax(dim=0)  # in place of dim=-1\nx = x - x.mean()              # of the whole batch",
        "normalise over the feature dimension, or with constants of the training set.",
    ),
    _samples(
        "view-mixes-samples",
        "A view or reshape cuts the memory anew where dimensions should have been exchanged.",
        "x = x.view(time, batch, features)  # x is (batch, time, features)",
        "exchange dimensions with transpose or permute; view only joins or splits neighbouring ones.",
    ),
    _samples(
        "state-carried-over",
        "A state runs on from one sample to the next. Only samples behind the replaced one change.",
        "h = torch.zeros(8)\nfor sample in batch:  # h should begin anew in here\n    h = cell(sample, h)",
        "start each sample from a fresh state.",
    ),
    _samples(
        "wrong-batch-axis",
        "A sequence layer takes the batch for the sequence.",
        "layer = nn.TransformerEncoderLayer(64, 4)  # batch_first=False is the default\nlayer(x)                                   # x is (batch, sequence, features)",
        "build the layer with batch_first=True, or transpose its input.",
    ),
    _samples(
        "samples-mixed",
        "An operation computes one sample's result from several samples. The message names it.",
        "scores = q @ k.T  # (batch, batch)\nout = scores.softmax(-1) @ v",
        "look at the dimension it works over, and at the order of the dimensions it is given.",
    ),
    _positions(
        "bidirectional-layer",
        "A recurrent layer also runs backwards.",
        "rnn = nn.LSTM(32, 64, bidirectional=True)  # in a model that predicts the next token",
        "use bidirectional=False.",
    ),
    _positions(
        "mask-transposed",
        "Positions see what follows and nothing of what came before. The mask is upside down.",
        "mask = torch.ones(n, n).tril().bool()  # True means 'may not attend' in nn.MultiheadAttention",
        "transpose the mask, or invert it.",
    ),
    _positions(
        "mask-too-weak",
        "The mask adds a number that is not negative enough, so the future still shows faintly.",
        "scores = scores - 10 * future  # exp(-10) is 0.00005, not 0",
        "mask with float('-inf') or torch.finfo(dtype).min before the softmax.",
    ),
    _positions(
        "window-reaches-ahead",
        "Each position sees a fixed number of positions ahead. A mask begins one diagonal too far, or a convolution is"
        " padded on both sides.",
        'mask = torch.ones(n, n).triu(diagonal=2).bool()  # in place of diagonal=1\nnn.Conv1d(8, 8, 3, padding="same")',
        "build the mask with triu(diagonal=1); pad convolutions on the left only.",
    ),
    _positions(
        "sees-whole-future",
        "Positions see everything that follows. No causal mask is applied, or a statistic runs over all time.",
        "F.scaled_dot_product_attention(q, k, v)  # is_causal=True is missing\nx = x - x.mean(1, keepdim=True)",
        "pass a causal mask; use statistics of the past only.",
    ),
)
