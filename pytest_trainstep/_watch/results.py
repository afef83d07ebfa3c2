"""What an evaluation returned, laid flat and compared with what it returned the next time."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch

RTOL, ATOL = 1e-5, 1e-8
_DEPTH = 8
_CLOCKS = re.compile(
    r"(^|[^a-z])(time|runtime|walltime|seconds?|secs?|duration|elapsed|timestamp|latency|throughput|fps|ms)$",
    re.IGNORECASE,
)


class Differing(NamedTuple):
    """One value that came out otherwise the second time."""

    path: str
    first: str
    second: str
    off: float  # relative; NaN where that means nothing


def flatten(value: Any, path: str = "", depth: int = _DEPTH) -> Iterator[tuple[str, Any]]:
    """Lay a result flat: numbers, tensors and texts under the path that leads to them; clocks are left out."""
    if isinstance(value, torch.Tensor):
        yield path, value.detach().clone()
        return
    children = _children(value) if depth else None
    if children is None:
        yield path, value
        return
    for key, item in children:
        if not (isinstance(item, int | float) and _CLOCKS.search(str(key))):
            yield from flatten(item, f"{path}.{key}" if path else str(key), depth - 1)


def _children(value: Any) -> list[tuple[Any, Any]] | None:
    if isinstance(value, Mapping):
        return list(value.items())
    if hasattr(value, "to_numpy"):  # tables and columns of pandas
        return [("values", value.to_numpy())]
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return list(enumerate(value))
    names = getattr(value, "_fields", None) or getattr(value, "__dataclass_fields__", None)
    if names is None and type(value).__module__ not in ("builtins", "numpy") and not callable(value):
        names = getattr(value, "__dict__", None)
    return None if names is None or isinstance(value, type) else [(name, getattr(value, name)) for name in names]


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Differing]:
    """Compare two results, both laid flat."""
    found = []
    for path in dict.fromkeys((*first, *second)):
        if path not in first or path not in second:
            found.append(Differing(path, _shown(first.get(path)), _shown(second.get(path)), math.nan))
            continue
        off = _off(first[path], second[path])
        if off is not None:
            found.append(Differing(path, _shown(first[path]), _shown(second[path]), off))
    return found


def _off(first: Any, second: Any) -> float | None:
    """Return by how much two values differ, relative to the larger; None if not at all, but for noise."""
    a, b = _tensor(first), _tensor(second)
    if a is None or b is None:
        return None if _equal(first, second) else math.nan
    if a.shape != b.shape:
        return math.nan
    if not a.dtype.is_floating_point and not b.dtype.is_floating_point:
        return None if torch.equal(a, b) else _relative(a.double(), b.double())
    rtol = max(RTOL, *(8 * torch.finfo(one.dtype).eps for one in (a, b) if one.dtype.is_floating_point))
    a, b = a.double(), b.double()
    if not torch.equal(torch.isnan(a), torch.isnan(b)):
        return math.nan
    a, b = torch.nan_to_num(a), torch.nan_to_num(b)
    off = _relative(a, b)
    return off if off > rtol and float((a - b).norm()) > ATOL else None


def _relative(a: torch.Tensor, b: torch.Tensor) -> float:
    size = max(float(a.norm()), float(b.norm()))
    return float((a - b).norm()) / size if size else 0.0


def _tensor(value: Any) -> torch.Tensor | None:
    if isinstance(value, torch.Tensor):
        plain = torch.view_as_real(value) if value.is_complex() else value
        return plain.cpu()
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return torch.tensor(value, dtype=torch.float64 if isinstance(value, float) else torch.int64)
    try:
        return torch.as_tensor(value) if type(value).__module__ == "numpy" else None
    except (RuntimeError, TypeError):
        return None


def _equal(first: Any, second: Any) -> bool:
    if "__eq__" not in {name for kind in type(first).__mro__[:-1] for name in vars(kind)}:
        return type(first) is type(second)  # nothing to compare by
    try:
        return bool(first == second)
    except (RuntimeError, TypeError, ValueError):
        return True


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, torch.Tensor):
        return (
            f"{float(value):.6g}" if value.numel() == 1 and not value.is_complex() else f"tensor {tuple(value.shape)}"
        )
    return str(value)[:40]
