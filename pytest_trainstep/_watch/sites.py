"""Where in the user's code something happened: `train.py:31`."""

from __future__ import annotations

import functools
import os
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FrameType

_OURS = str(Path(__file__).resolve().parent.parent) + os.sep
_LIBRARIES = tuple(
    str(Path(path)) + os.sep
    for path in {sysconfig.get_paths()[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")}
)
_USER, _FRAMEWORK, _NEVER = range(3)


@functools.cache
def _kind_of(name: str) -> int:
    if name.startswith((_OURS, "<frozen")):
        return _NEVER
    if f"{os.sep}torch{os.sep}" in name and "site-packages" in name:
        return _NEVER
    inside = name.startswith(_LIBRARIES) or "site-packages" in name or "dist-packages" in name
    return _FRAMEWORK if inside else _USER


def _kind(code: CodeType) -> int:
    return _kind_of(code.co_filename)  # a string knows its hash, a code object makes it anew


def here(constructing: object = None) -> str | None:
    """Return the nearest line outside every installed library, else the nearest outside torch.

    With `constructing`, the constructors of that object are passed over: what counts is who called them.
    """
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the documented way to walk a stack cheaply
    fallback: FrameType | None = None
    while frame is not None:
        kind = _kind(frame.f_code)
        if constructing is not None and frame.f_code.co_name == "__init__" and _is_of(frame, constructing):
            kind = _NEVER
        if kind == _USER:
            return _format(frame)
        if kind == _FRAMEWORK and fallback is None:
            fallback = frame
        frame = frame.f_back
    return None if fallback is None else _format(fallback)


def is_users(code: CodeType) -> bool:
    """Tell whether a function is the user's own: neither ours, nor torch's, nor an installed library's."""
    return _kind(code) == _USER


def is_torchs(code: CodeType) -> bool:
    """Tell whether a function is torch's, or ours."""
    return _kind(code) == _NEVER


def of(frame: FrameType) -> str:
    """Return `file:line` of a frame."""
    return _format(frame)


def _is_of(frame: FrameType, thing: object) -> bool:
    """Tell whether the frame runs a method of `thing`: its first argument is that object."""
    names = frame.f_code.co_varnames
    return bool(names) and frame.f_locals.get(names[0]) is thing


def _format(frame: FrameType) -> str:
    return f"{_short(frame.f_code.co_filename, os.getcwd())}:{frame.f_lineno}"  # noqa: PTH109 - hot path


@functools.cache
def _short(path: str, folder: str) -> str:
    return os.path.relpath(path, folder) if path.startswith(folder + os.sep) else os.path.basename(path)  # noqa: PTH119


def _step_frames() -> Iterator[int]:
    """Yield the identities of the frames of torch's wrapper around `step` below us, the innermost first."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the documented way to walk a stack cheaply
    while frame is not None:
        if frame.f_code.co_filename.endswith("optimizer.py") and frame.f_code.co_name == "wrapper":
            yield id(frame)
        frame = frame.f_back


def step_frame() -> int:
    """Return the identity of the frame of torch's wrapper around `step` that called the hook; 0 where it has none."""
    return next(_step_frames(), 0)


def is_running(identity: int) -> bool:
    """Tell whether that frame is still below us: a step that raised has left without a word."""
    return identity == 0 or identity in _step_frames()


def is_around(identity: int) -> bool:
    """Tell whether that frame is below the innermost one, which may have got the identity of one that has left."""
    inner, *outer = (*_step_frames(), 0)
    return identity in outer or inner == 0
