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


class GradientsNotFlowing(TrainStepError):
    """Trainable parameters receive no gradient, or one that is exactly zero."""

    __module__ = "pytest_trainstep"


class GradientsNotFresh(TrainStepError):
    """An optimizer step used gradients that were left over from before."""

    __module__ = "pytest_trainstep"


class StepNotFinite(TrainStepError):
    """A loss, a gradient or a weight was NaN or infinite."""

    __module__ = "pytest_trainstep"


class StepNotSound(TrainStepError):
    """A check-up of the whole step found something."""

    __module__ = "pytest_trainstep"


class FaultNotDetected(TrainStepError):
    """A test of training stayed green with a fault planted into its training."""

    __module__ = "pytest_trainstep"


class MemoryNotFlat(TrainStepError):
    """Steps keep the graphs of earlier steps alive."""

    __module__ = "pytest_trainstep"


class SamplesNotIndependent(TrainStepError):
    """The output for one sample depends on another sample of the batch."""

    __module__ = "pytest_trainstep"


class PositionsNotCausal(TrainStepError):
    """The output at a position depends on inputs after it."""

    __module__ = "pytest_trainstep"


class BatchNotOverfitted(TrainStepError):
    """A fixed batch could not be learned: its loss did not come below the limit."""

    __module__ = "pytest_trainstep"


class LossNotFalling(TrainStepError):
    """The loss did not fall by the asked-for amount."""

    __module__ = "pytest_trainstep"


class LossStartsElsewhere(TrainStepError):
    """The loss of the untrained model is not what chance predicts."""

    __module__ = "pytest_trainstep"


class RunsNotReproduced(TrainStepError):
    """Two runs of the same training differ."""

    __module__ = "pytest_trainstep"


class RecordingMismatch(TrainStepError):
    """A training parts from its recording."""

    __module__ = "pytest_trainstep"


class ResumeMismatch(TrainStepError):
    """A resumed training does not go on as the uninterrupted one does."""

    __module__ = "pytest_trainstep"


class UpdateMismatch(TrainStepError):
    """A step moves the weights otherwise than its reference."""

    __module__ = "pytest_trainstep"


class AccumulationMismatch(TrainStepError):
    """An accumulation window makes another update than the whole batch at once."""

    __module__ = "pytest_trainstep"


class EvaluationNotPure(TrainStepError):
    """Evaluation leaves something otherwise than it found it."""

    __module__ = "pytest_trainstep"


class EvaluationNotRepeatable(TrainStepError):
    """Two evaluations of the same model give different results."""

    __module__ = "pytest_trainstep"


class OptimizerNotCovering(TrainStepError):
    """An optimizer holds other parameters than the model trains."""

    __module__ = "pytest_trainstep"


class OptimizerNotConforming(TrainStepError):
    """An optimizer lacks properties that training relies on."""

    __module__ = "pytest_trainstep"


class TrainStepUsageError(ValueError):
    """What was passed to an assertion or to ``watch`` makes no sense."""

    __module__ = "pytest_trainstep"


class TrainStepWarning(pytest.PytestWarning):
    """Something that a test cannot rely on, but that does not fail it."""

    __module__ = "pytest_trainstep"
