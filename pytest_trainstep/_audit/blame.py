"""Raising a finding at the line of the user's step, so that pytest shows that line and not ours."""

from __future__ import annotations

import ast
import dataclasses
import linecache
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

from pytest_trainstep._errors import WeightsNotUpdated

if TYPE_CHECKING:
    from pytest_trainstep._diagnose.audit import Verdict

_NO_MARKERS = (
    "a doctest has no decorators: in pytest_collection_modifyitems of conftest.py,"
    ' item.add_marker(pytest.mark.trainstep(audit="off", reason="..."))'
)


def at_the_line(verdict: Verdict, item: pytest.Item) -> NoReturn:
    """Raise the finding as if the line of the step had raised it."""
    __tracebackhide__ = True
    if not isinstance(item, pytest.Function):  # pytest shows a doctest every frame down to its own
        pytest.fail(str(dataclasses.replace(verdict.finding, on_purpose=_NO_MARKERS)), pytrace=False)
    error = WeightsNotUpdated(verdict.finding)
    file, _, line = verdict.at.rpartition(":")
    path = Path(file)
    if not path.is_file() or not line.isdecimal():  # an optimizer that is stepped in a library
        path, line = item.path, str((item.location[1] or 0) + 1)
    # Tracebacks point at code objects; this one is made to stand where the step stands.
    code = compile(_raise_at(path, int(line)), str(path.resolve()), "exec")
    exec(code.replace(co_name=item.name.partition("[")[0]), {"error": error})  # noqa: S102 - `raise error`, see below
    raise error


def _raise_at(path: Path, line: int) -> ast.Module:
    """Make a `raise error` that covers the whole of that line."""
    text = linecache.getline(str(path), line).rstrip()
    tree = ast.parse("raise error")
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt | ast.expr):
            node.lineno = node.end_lineno = line
            node.col_offset, node.end_col_offset = len(text) - len(text.lstrip()), len(text)
    return tree
