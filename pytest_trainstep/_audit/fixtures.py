"""Fixtures of a wider scope that train: what each run of one is called in the report, and where it stands."""

from __future__ import annotations

import inspect
import os
from collections.abc import Sequence
from typing import Any

import pytest

from pytest_trainstep._heard import Subject

_READABLE = (str, int, float, bool, type(None))


class Fixtures:
    """Knows with which parameters each fixture was set up last: those that use it are set up anew with them."""

    def __init__(self) -> None:
        self._parameters: dict[str, tuple[str, ...]] = {}

    def subject(self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest) -> Subject:
        """Return what is heard while this fixture is set up: a row for each of its parameters."""
        used = [label for name in fixturedef.argnames for label in self._parameters.get(name, ())]
        own = [_label(fixturedef, request)] if hasattr(request, "param") else []
        labels = self._parameters[fixturedef.argname] = (*dict.fromkeys(used), *own)
        name = "::".join(part for part in (fixturedef.baseid, fixturedef.argname) if part)
        brackets = f"[{'-'.join(labels)}]" if labels else ""
        return Subject(id=f"{name}{brackets} ({fixturedef.scope} fixture)", kind="fixture", at=_place(fixturedef))


def _label(fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest) -> str:
    """Name a parameter as pytest does in the names of tests."""
    index: int = getattr(request, "param_index", 0)
    names = fixturedef.ids if fixturedef.params is not None else None
    named = names[index] if isinstance(names, Sequence) else None
    value = request.param if named is None else named
    return str(value) if isinstance(value, _READABLE) else f"{fixturedef.argname}{index}"


def _place(fixturedef: pytest.FixtureDef[Any]) -> str:
    code = getattr(inspect.unwrap(fixturedef.func), "__code__", None)
    if code is None:
        return ""
    path = code.co_filename
    inside = path.startswith(os.getcwd() + os.sep)  # noqa: PTH109 - a string is wanted
    return f"{os.path.relpath(path) if inside else os.path.basename(path)}:{code.co_firstlineno}"  # noqa: PTH119 - as above
