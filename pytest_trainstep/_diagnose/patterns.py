"""Patterns over parameter names: matching what the user wrote, and writing what the user may paste."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from pytest_trainstep._record import ParameterRecord

_MANY = 4


def matches(parameter: ParameterRecord, patterns: Iterable[str]) -> bool:
    """Tell whether a pattern fits the parameter's name or one of its other names."""
    names = (parameter.name, *parameter.aliases)
    return any(fnmatchcase(name, pattern) for pattern in patterns for name in names)


def unmatched(patterns: Sequence[str], parameters: Iterable[ParameterRecord]) -> list[str]:
    """Return the patterns that fit nothing."""
    rows = list(parameters)
    return [pattern for pattern in patterns if not any(matches(row, [pattern]) for row in rows)]


def nearest(pattern: str, names: Collection[str]) -> list[str]:
    """Return the names (or their first parts) that resemble a pattern which fits nothing."""
    bare = pattern.rstrip("*.")
    parts = {".".join(name.split(".")[:end]) for name in names for end in range(1, name.count(".") + 2)}
    close = difflib.get_close_matches(bare, sorted(parts), n=3, cutoff=0.5)
    return close or sorted(names)[:3]


def compress(names: Sequence[str], everything: Mapping[str, ParameterRecord]) -> str:
    """Write the shortest list of patterns that fits these names and no other: `["head.*"]`."""
    wanted = set(names)
    trainable = {name for name, row in everything.items() if row.trainable}
    if len(wanted) > 1 and trainable and wanted >= trainable:
        return '["*"]'
    left = list(dict.fromkeys(names))
    patterns: list[str] = []
    while left:
        pattern = _widest(left[0], wanted, everything)
        patterns.append(pattern)
        left = [name for name in left if not fnmatchcase(name, pattern) and name != pattern]
    shown = ", ".join(f'"{pattern}"' for pattern in patterns[:_MANY])
    return f"[{shown}{', ...' if len(patterns) > _MANY else ''}]"


def _widest(name: str, wanted: set[str], everything: Mapping[str, ParameterRecord]) -> str:
    parts = name.split(".")
    for end in range(1, len(parts)):
        pattern = ".".join(parts[:end]) + ".*"
        inside = {other for other in everything if fnmatchcase(other, pattern)}
        if len(inside) > 1 and inside <= wanted:
            return pattern
    return name
