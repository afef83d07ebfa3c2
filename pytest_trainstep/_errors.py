"""The exceptions: one class per claim, because Hypothesis tells failures apart by class and line. Torch-free."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_trainstep._diagnose import Finding


class TrainStepError(AssertionError):
    """A claim about a training step does not hold; ``finding`` says which, and why."""

    __module__ = "pytest_trainstep"  # tracebacks and summaries name the door, not the room

    finding: Finding
    """The claim, the evidence and the causes, as a value."""

    def __init__(self, finding: Finding) -> None:
        # The only argument is the finding itself, so that the error survives pickling (xdist, process pools).
        super().__init__(finding)
        self.finding = finding

    def __str__(self) -> str:
        return str(self.finding)


class WeightsNotUpdated(TrainStepError):
    """Parameters that should have been trained did not change."""

    __module__ = "pytest_trainstep"


class WeightsNotFrozen(TrainStepError):
    """Parameters that should have stood still changed."""

    __module__ = "pytest_trainstep"


class TrainStepUsageError(ValueError):
    """What was passed to an assertion or to ``watch`` makes no sense."""

    __module__ = "pytest_trainstep"


class TrainStepWarning(pytest.PytestWarning):
    """Something that a test cannot rely on, but that does not fail it."""

    __module__ = "pytest_trainstep"
