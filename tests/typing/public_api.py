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
    assert_accumulation_matches,
    assert_batch_overfits,
    assert_evaluation_pure,
    assert_evaluation_repeatable,
    assert_loss_falls,
    assert_loss_starts_at,
    assert_memory_flat,
    assert_optimizer_covers,
    assert_positions_causal,
    assert_samples_independent,
    assert_update_matches,
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


def claims_about_losses_and_dependence(model: torch.nn.Module, batch: torch.Tensor) -> None:
    assert_type(assert_batch_overfits(model, lambda: 0.5, steps=100, below=0.1), StepRecord)
    assert_type(assert_loss_falls(model, lambda: {"loss": batch}, steps=10, by=0.5, loss_fn=lambda: 0.5), StepRecord)
    assert_type(assert_loss_starts_at(model, lambda: batch.sum() / 2, expected=2.3, rtol=0.1), float)
    assert_samples_independent(model, batch, forward=lambda m, b: m(b), replace=lambda b, j: b, size=4)
    assert_positions_causal(model, [batch], msg="causal")
    assert_memory_flat(model, lambda: None, steps=4)


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


def a_comparison_takes_what_to_compare_with(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    assert_update_matches(model, lambda: 0.5, reference=lambda copy: copy.zero_grad, steps=3, rtol=1e-4, msg="exactly")
    assert_accumulation_matches(model, lambda: None, full_loss=lambda: 0.5, optimizer=[optimizer], max_norm=1.0)
    assert_evaluation_pure(model, lambda: 0.5, optimizer=optimizer, allowed=["modes"])
    assert_evaluation_repeatable({"model": model}, lambda: {"loss": 0.5})
    assert_optimizer_covers(model, [optimizer], only=["head.*"], frozen=["embed.*"], extra=list(model.buffers()))


def the_errors_are_what_pytest_expects(error: WeightsNotUpdated, other: WeightsNotFrozen) -> None:
    assert_type(error.finding, Finding)
    failures: list[AssertionError] = [error, other]
    base: TrainStepError = error
    usage: type[ValueError] = TrainStepUsageError
    warning: type[Warning] = TrainStepWarning
    del failures, base, usage, warning


def the_version_is_text() -> None:
    assert_type(pytest_trainstep.__version__, str)
