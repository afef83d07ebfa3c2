"""Read by mypy only: what a user writes must type-check, and be told apart from what is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_type

import pytest_trainstep
from pytest_trainstep import (
    Finding,
    StepRecord,
    TrainStep,
    TrainStepError,
    TrainStepUsageError,
    TrainStepWarning,
    Watched,
    WeightsNotFrozen,
    WeightsNotUpdated,
    assert_weights_frozen,
    assert_weights_update,
    watch,
)

if TYPE_CHECKING:
    import torch


def an_assertion_takes_the_model_and_the_step(model: torch.nn.Module, generator: torch.nn.Module) -> None:
    record = assert_weights_update(model, lambda: None, steps=3, only=["head.*"], frozen=["embed.*"], min_update=1e-6)
    assert_type(record, StepRecord)
    assert_weights_update(model, lambda: {"loss": 0.5}, params=None, msg="the head must learn", rerun=False)
    assert_weights_update({"model": model, "generator": generator}, lambda: None)
    assert_weights_frozen(model, lambda: None, only=["embed.*"], buffers=True)


def a_watch_yields_what_it_saw(model: torch.nn.Module) -> None:
    with watch(model) as watched:
        pass
    assert_type(watched, Watched)
    assert_type(watched.record, StepRecord)
    watched.assert_weights_update(frozen=["embed.*"])
    watched.assert_weights_frozen(only=["embed.*"])


def the_fixture_offers_the_same(trainstep: TrainStep, model: torch.nn.Module) -> None:
    assert_type(trainstep.assert_weights_update(model, lambda: None), StepRecord)
    with trainstep.watch(model) as watched:
        assert_type(watched, Watched)
    trainstep.assert_nothing  # type: ignore[attr-defined]  # noqa: B018


def the_errors_are_what_pytest_expects(error: WeightsNotUpdated, other: WeightsNotFrozen) -> None:
    assert_type(error.finding, Finding)
    failures: list[AssertionError] = [error, other]
    base: TrainStepError = error
    usage: type[ValueError] = TrainStepUsageError
    warning: type[Warning] = TrainStepWarning
    del failures, base, usage, warning


def the_version_is_text() -> None:
    assert_type(pytest_trainstep.__version__, str)
