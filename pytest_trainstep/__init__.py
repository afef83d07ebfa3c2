"""Assertions about training steps: did the weights move, and if not, why not.

The door: public names, each fetched from its room when it is first asked for, so that importing this package (which
pytest does in every run) imports neither torch nor numpy nor hypothesis.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_trainstep._diagnose import Finding
    from pytest_trainstep._errors import (
        TrainStepError,
        TrainStepUsageError,
        TrainStepWarning,
        WeightsNotFrozen,
        WeightsNotUpdated,
    )
    from pytest_trainstep._namespace import TrainStep
    from pytest_trainstep._record import StepRecord
    from pytest_trainstep.assertions import (
        Watched,
        assert_weights_frozen,
        assert_weights_update,
        watch,
    )

    __version__: str

__all__ = [
    "Finding",
    "StepRecord",
    "TrainStep",
    "TrainStepError",
    "TrainStepUsageError",
    "TrainStepWarning",
    "Watched",
    "WeightsNotFrozen",
    "WeightsNotUpdated",
    "assert_weights_frozen",
    "assert_weights_update",
    "watch",
]

# The room of every public name. tests/test_door.py holds this table, `__all__` and the imports above together.
ROOMS = {
    "Finding": "_diagnose",
    "StepRecord": "_record",
    "TrainStep": "_namespace",
    "TrainStepError": "_errors",
    "TrainStepUsageError": "_errors",
    "TrainStepWarning": "_errors",
    "Watched": "assertions",
    "WeightsNotFrozen": "_errors",
    "WeightsNotUpdated": "_errors",
    "assert_weights_frozen": "assertions",
    "assert_weights_update": "assertions",
    "watch": "assertions",
}


def __getattr__(name: str) -> object:
    # Not kept in this module: a session inside a session (pytester) drops and re-imports rooms, and the door follows.
    if name in ROOMS:
        return getattr(importlib.import_module(f"{__name__}.{ROOMS[name]}"), name)
    if name == "__version__":
        from importlib.metadata import version

        return version("pytest-trainstep")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
