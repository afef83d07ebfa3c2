"""Every slip of the collection is found and shrunk to nothing but its condition; no correct twin is called broken."""

import runpy
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path

import pytest

from pytest_trainstep import WeightsNotUpdated
from pytest_trainstep import strategies as ts

CASES = runpy.run_path(str(Path(__file__).with_name("collection.py")))["CASES"]
EACH = pytest.mark.parametrize(  # a second or two each: a few stand for all where nobody asked for the slow tests
    "name", [pytest.param(name, marks=[pytest.mark.slow] if place % 8 else []) for place, name in enumerate(CASES)]
)


def special(parts, prefix=""):
    """Return the names of what differs from the ordinary set-up."""
    found = set()
    for place in fields(parts):
        value = getattr(parts, place.name)
        default = place.default if place.default_factory is MISSING else place.default_factory()
        if is_dataclass(value) and is_dataclass(default):
            found |= special(value, f"{prefix}{place.name}.")
        elif value != default or type(value) is not type(default):
            found.add(prefix + place.name)
    return found


def printed(error):
    return eval(error.__notes__[-1].split(":", 1)[1].strip(), vars(ts))  # noqa: S307


def test_the_collection_is_large():
    assert len(CASES) >= 40


@EACH
def test_faulty_step_is_found_and_shows_nothing_but_its_condition(name):
    case = CASES[name]
    with pytest.raises(WeightsNotUpdated) as raised:
        ts.check_train_step(case.faulty, shape=case.shape, seed=0)
    assert special(printed(raised.value).parts) <= case.shows


@EACH
def test_correct_twin_is_not_called_broken(name):
    case = CASES[name]
    ts.check_train_step(case.correct, shape=case.shape, seed=1)
