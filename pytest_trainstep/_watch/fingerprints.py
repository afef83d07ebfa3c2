"""A 64-bit number that stands for the bits of a large tensor."""

from __future__ import annotations

import torch

CHUNK = 65_536  # elements of one block
_MULTIPLIER = 6_364_136_223_846_793_005
_WORD = 2**64


def fingerprint(values: torch.Tensor) -> int:
    """Return a 64-bit position-weighted sum of the bits of `values`.

    Every change of a single element is seen for certain, others but for a chance of about 2**-64:
    odd weights are units modulo 2**64. XOR or plain sums miss real updates (equal moves cancel).
    """
    flat = values.contiguous().reshape(-1).view(torch.uint8)
    tail = flat.numel() % 8
    words = flat[: flat.numel() - tail].view(torch.int64)
    weights = _weights(values.device)
    whole = words.numel() // CHUNK * CHUNK
    sums = (words[:whole].view(-1, CHUNK) * weights).sum(1).tolist() if whole else []
    if words.numel() > whole:
        rest = words[whole:]
        sums.append(int((rest * weights[: rest.numel()]).sum()))
    if tail:
        sums.extend(flat[-tail:].tolist())
    result = 0
    for part in sums:
        result = (result * _MULTIPLIER + int(part)) % _WORD
    return result


_weights_by_device: dict[str, torch.Tensor] = {}


def _weights(device: torch.device) -> torch.Tensor:
    """Fixed odd numbers, made by splitmix64 without any random stream."""
    key = str(device)
    if key not in _weights_by_device:
        state = torch.arange(1, CHUNK + 1, dtype=torch.int64, device=device) * -7046029254386353131
        for shift, factor in ((30, -4658895280553007687), (27, -7723592293110705685)):
            state = (state ^ ((state >> shift) & (2 ** (64 - shift) - 1))) * factor
        _weights_by_device[key] = state | 1
    return _weights_by_device[key]
