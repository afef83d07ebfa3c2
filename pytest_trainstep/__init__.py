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
        AccumulationMismatch,
        BatchNotOverfitted,
        EvaluationNotPure,
        EvaluationNotRepeatable,
        FaultNotDetected,
        GradientsNotFlowing,
        GradientsNotFresh,
        LossNotFalling,
        LossStartsElsewhere,
        MemoryNotFlat,
        OptimizerNotConforming,
        OptimizerNotCovering,
        PositionsNotCausal,
        RecordingMismatch,
        ResumeMismatch,
        RunsNotReproduced,
        SamplesNotIndependent,
        StepNotFinite,
        StepNotSound,
        TrainStepError,
        TrainStepUsageError,
        TrainStepWarning,
        UpdateMismatch,
        WeightsNotFrozen,
        WeightsNotUpdated,
    )
    from pytest_trainstep._namespace import TrainStep
    from pytest_trainstep._record import StepRecord
    from pytest_trainstep.assertions import (
        Watched,
        as_trainer,
        assert_accumulation_matches,
        assert_batch_overfits,
        assert_detects,
        assert_evaluation_pure,
        assert_evaluation_repeatable,
        assert_gradients_flow,
        assert_gradients_fresh,
        assert_loss_falls,
        assert_loss_starts_at,
        assert_memory_flat,
        assert_optimizer_covers,
        assert_positions_causal,
        assert_resume_matches,
        assert_runs_reproduce,
        assert_samples_independent,
        assert_step_finite,
        assert_step_sound,
        assert_update_matches,
        assert_weights_frozen,
        assert_weights_update,
        parametrize_with_step_checks,
        watch,
    )
    from pytest_trainstep.optimizers import (
        check_optimizer,
        parametrize_with_optimizer_checks,
    )

    __version__: str

__all__ = [
    "AccumulationMismatch",
    "BatchNotOverfitted",
    "EvaluationNotPure",
    "EvaluationNotRepeatable",
    "FaultNotDetected",
    "Finding",
    "GradientsNotFlowing",
    "GradientsNotFresh",
    "LossNotFalling",
    "LossStartsElsewhere",
    "MemoryNotFlat",
    "OptimizerNotConforming",
    "OptimizerNotCovering",
    "PositionsNotCausal",
    "RecordingMismatch",
    "ResumeMismatch",
    "RunsNotReproduced",
    "SamplesNotIndependent",
    "StepNotFinite",
    "StepNotSound",
    "StepRecord",
    "TrainStep",
    "TrainStepError",
    "TrainStepUsageError",
    "TrainStepWarning",
    "UpdateMismatch",
    "Watched",
    "WeightsNotFrozen",
    "WeightsNotUpdated",
    "as_trainer",
    "assert_accumulation_matches",
    "assert_batch_overfits",
    "assert_detects",
    "assert_evaluation_pure",
    "assert_evaluation_repeatable",
    "assert_gradients_flow",
    "assert_gradients_fresh",
    "assert_loss_falls",
    "assert_loss_starts_at",
    "assert_memory_flat",
    "assert_optimizer_covers",
    "assert_positions_causal",
    "assert_resume_matches",
    "assert_runs_reproduce",
    "assert_samples_independent",
    "assert_step_finite",
    "assert_step_sound",
    "assert_update_matches",
    "assert_weights_frozen",
    "assert_weights_update",
    "check_optimizer",
    "parametrize_with_optimizer_checks",
    "parametrize_with_step_checks",
    "watch",
]

# The room of every public name. tests/test_door.py holds this table, `__all__` and the imports above together.
ROOMS = {
    "AccumulationMismatch": "_errors",
    "BatchNotOverfitted": "_errors",
    "EvaluationNotPure": "_errors",
    "EvaluationNotRepeatable": "_errors",
    "FaultNotDetected": "_errors",
    "Finding": "_diagnose",
    "GradientsNotFlowing": "_errors",
    "GradientsNotFresh": "_errors",
    "LossNotFalling": "_errors",
    "LossStartsElsewhere": "_errors",
    "MemoryNotFlat": "_errors",
    "OptimizerNotConforming": "_errors",
    "OptimizerNotCovering": "_errors",
    "PositionsNotCausal": "_errors",
    "RecordingMismatch": "_errors",
    "ResumeMismatch": "_errors",
    "RunsNotReproduced": "_errors",
    "SamplesNotIndependent": "_errors",
    "StepNotFinite": "_errors",
    "StepNotSound": "_errors",
    "StepRecord": "_record",
    "TrainStep": "_namespace",
    "TrainStepError": "_errors",
    "TrainStepUsageError": "_errors",
    "TrainStepWarning": "_errors",
    "UpdateMismatch": "_errors",
    "Watched": "assertions",
    "WeightsNotFrozen": "_errors",
    "WeightsNotUpdated": "_errors",
    "as_trainer": "assertions",
    "assert_accumulation_matches": "assertions",
    "assert_batch_overfits": "assertions",
    "assert_detects": "assertions",
    "assert_evaluation_pure": "assertions",
    "assert_evaluation_repeatable": "assertions",
    "assert_gradients_flow": "assertions",
    "assert_gradients_fresh": "assertions",
    "assert_loss_falls": "assertions",
    "assert_loss_starts_at": "assertions",
    "assert_memory_flat": "assertions",
    "assert_optimizer_covers": "assertions",
    "assert_positions_causal": "assertions",
    "assert_resume_matches": "assertions",
    "assert_runs_reproduce": "assertions",
    "assert_samples_independent": "assertions",
    "assert_step_finite": "assertions",
    "assert_step_sound": "assertions",
    "assert_update_matches": "assertions",
    "assert_weights_frozen": "assertions",
    "assert_weights_update": "assertions",
    "check_optimizer": "optimizers",
    "parametrize_with_optimizer_checks": "optimizers",
    "parametrize_with_step_checks": "assertions",
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
