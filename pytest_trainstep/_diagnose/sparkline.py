"""A curve in one line of ASCII."""

from __future__ import annotations

import math
from collections.abc import Sequence

_LEVELS = "_.-~=+*#"  # ink grows with the value
_BAD = "!"


def sparkline(values: Sequence[float], width: int = 40, *, beside: Sequence[float] = ()) -> str:
    """Draw values as one line of at most `width` characters, from `_` (lowest) to `#` (highest); `!` is not finite.

    A curve that will be compared is drawn on one scale with what stands `beside` it.

    Example:
        >>> sparkline([4.0, 3.0, 2.0, 1.0, 0.0])
        '#+=-_'
    """
    count = min(width, len(values))
    columns = [_mean(values[k * len(values) // count : (k + 1) * len(values) // count]) for k in range(count)]
    finite = [value for value in (*columns, *beside) if math.isfinite(value)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 0.0)
    step = (high - low) / (len(_LEVELS) - 1)
    return "".join(
        _BAD if not math.isfinite(value) else _LEVELS[int((value - low) / step + 0.5) if step else 0]
        for value in columns
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
