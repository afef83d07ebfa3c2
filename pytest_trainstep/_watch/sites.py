"""Where in the user's code something happened: `train.py:31`."""

from __future__ import annotations

import functools
import os
import sys
import sysconfig
from pathlib import Path
from types import CodeType, FrameType

_OURS = str(Path(__file__).resolve().parent.parent) + os.sep
_LIBRARIES = tuple(
    str(Path(path)) + os.sep
    for path in {sysconfig.get_paths()[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")}
)
_USER, _FRAMEWORK, _NEVER = range(3)


@functools.cache
def _kind(code: CodeType) -> int:
    name = code.co_filename
    if name.startswith((_OURS, "<frozen")):
        return _NEVER
    if f"{os.sep}torch{os.sep}" in name and "site-packages" in name:
        return _NEVER
    inside = name.startswith(_LIBRARIES) or "site-packages" in name or "dist-packages" in name
    return _FRAMEWORK if inside else _USER


def here() -> str | None:
    """Return the nearest line outside every installed library, else the nearest outside torch."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the documented way to walk a stack cheaply
    fallback: FrameType | None = None
    while frame is not None:
        kind = _kind(frame.f_code)
        if kind == _USER:
            return _format(frame)
        if kind == _FRAMEWORK and fallback is None:
            fallback = frame
        frame = frame.f_back
    return None if fallback is None else _format(fallback)


def _format(frame: FrameType) -> str:
    path = frame.f_code.co_filename
    relative = os.path.relpath(path) if path.startswith(os.getcwd() + os.sep) else os.path.basename(path)  # noqa: PTH109, PTH119 - hot path
    return f"{relative}:{frame.f_lineno}"
