"""Where in a test the training is, in the test's own words: what the model is called there, and which call trains it."""

from __future__ import annotations

import ast
import itertools
import linecache
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any

from torch import nn

from pytest_trainstep._planted import Place

from . import faults, sites

_COMPREHENSIONS = ("<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>")
_NO_HOLDERS = (nn.Module, type, ModuleType, FunctionType)  # of attributes that are worth a name
_LONGEST = 120  # characters of a call that are worth repeating


def place(optimizer: Any, name: str, fixture: str = "") -> Place:
    """Tell where an optimizer that steps right now is called from.

    Args:
        optimizer: It.
        name: The name of the test function.
        fixture: The fixture that is being set up, if one is.
    """
    frames = list(_of_the_test())
    while len(frames) > 1 and frames[-1][0].f_code.co_name == "<lambda>":
        frames.pop()  # it hands arguments to the test
    if not frames:
        return Place(fixture=fixture)
    outermost = next((at for at, (frame, _) in enumerate(frames) if frame.f_code.co_name == name), len(frames) - 1)
    held = {id(tensor) for group in faults.groups(optimizer) for tensor in group}
    inward = [*range(outermost, -1, -1)]  # where the test does not see the model, what it calls may
    named = ((at, _model(_names(frames[at][0]), held)) for at in inward)
    chosen, model = next(((at, model) for at, model in named if model is not None), (outermost, None))
    frame, callee = frames[chosen]
    while chosen and callee is frames[chosen - 1][0] and callee.f_code.co_name in _COMPREHENSIONS:
        chosen -= 1  # before Python 3.12 each had a frame of its own
        frame, callee = frames[chosen]
    call = None if callee is None or sites.is_torchs(callee.f_code) else _call(frame)
    return Place(at=sites.of(frame), fixture=fixture, model=model, call=call)


def _names(frame: FrameType) -> dict[str, Any]:
    """Return what is seen in a frame: the names of its module that it uses, and its own."""
    seen = {name: frame.f_globals[name] for name in frame.f_code.co_names if name in frame.f_globals}
    return {**seen, **frame.f_locals}


def _of_the_test() -> Iterator[tuple[FrameType, FrameType | None]]:
    """Yield the user's frames between us and pytest, each with the one it called, the innermost first."""
    callee: FrameType | None = None
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the documented way to walk a stack cheaply
    while frame is not None and not _is_boundary(frame.f_code):
        if sites.is_users(frame.f_code):
            yield frame, callee
        callee, frame = frame, frame.f_back


def _is_boundary(code: CodeType) -> bool:
    """Tell whether this function calls a test: pytest does, and our own negative control."""
    return "_pytest" in Path(code.co_filename).parts or (code.co_name == "assert_detects" and sites.is_torchs(code))


def _call(frame: FrameType) -> str | None:
    """Return the source of the call that is running in a frame, on one line."""
    positions = next(itertools.islice(frame.f_code.co_positions(), frame.f_lasti // 2, None), None)
    if positions is None or None in positions:
        return None
    first, last, start, end = (number or 0 for number in positions)
    source = (linecache.getline(frame.f_code.co_filename, number) for number in range(first, last + 1))
    lines = [line.encode() for line in source]  # columns count bytes
    lines[-1] = lines[-1][:end]
    lines[0] = lines[0][start:]
    try:
        node: ast.expr = ast.parse(b"".join(lines).decode().strip(), mode="eval").body
    except (SyntaxError, UnicodeDecodeError, ValueError):
        return None
    text = ast.unparse(node)
    return text if _trains(node) and len(text) <= _LONGEST else None


def _trains(node: ast.expr) -> bool:
    """Tell whether it is a call that may be more than the optimizer's step alone."""
    if not isinstance(node, ast.Call):
        return False
    bare = isinstance(node.func, ast.Attribute) and node.func.attr == "step" and not node.args and not node.keywords
    return not bare


def _model(local: Mapping[str, Any], held: set[int]) -> str | None:
    """Return what the module that holds these tensors is called: a variable, or an attribute of one."""
    names = [*_modules(local, held, "")]
    for name, value in local.items():
        if not isinstance(value, _NO_HOLDERS) and hasattr(value, "__dict__"):
            names += _modules(vars(value), held, f"{name}.")
    # of a model and its layers the one that covers most, and of those the smallest
    return min(names, key=lambda found: (-found[1], found[2]), default=(None,))[0]


def _modules(values: Mapping[str, Any], held: set[int], prefix: str) -> Iterator[tuple[str, int, int]]:
    for name, value in values.items():
        if isinstance(value, nn.Module) and name.isidentifier():
            tensors = [id(tensor) for tensor in value.parameters()]
            covers = len(held.intersection(tensors))
            if covers:
                yield f"{prefix}{name}", covers, len(tensors)
