"""What a rule answers, and small words that rules share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from pytest_trainstep._record import Occasion, OptimizerRecord, ParameterRecord, StepRecord

if TYPE_CHECKING:
    from pytest_trainstep._heard import Heard

ZEROS = ("zero", "scaled-to-zero", "zeroed")
ABSENT = ("none", "cleared")
LOOK_INSIDE = (
    "look at its hyperparameters (lr, eps, betas); in an optimizer of your own, at its `step`: it must write into the"
    " parameters themselves (in place), not into copies, and must not return early"
)


class Because(NamedTuple):
    """One sentence from recorded facts, and one that says what to do."""

    text: str
    fix: str


def stepped(parameter: ParameterRecord, record: StepRecord) -> list[OptimizerRecord]:
    """Return the optimizers that hold the parameter and stepped (or were skipped by a scaler)."""
    held = (record.optimizers[index] for index in parameter.held_by)
    return [optimizer for optimizer in held if optimizer.steps or optimizer.skipped]


def blamed(parameter: ParameterRecord, *gradients: str) -> list[Occasion]:
    """Return the optimizer steps in which its gradient stood in one of these ways."""
    return [one for one in parameter.occasions if one.gradient in gradients]


def mostly(parameter: ParameterRecord, *gradients: str) -> bool:
    """Tell whether that was so in at least half of the steps in which it should have moved."""
    return 2 * len(blamed(parameter, *gradients)) >= len(parameter.occasions) > 0


def called(optimizer: OptimizerRecord | Heard) -> str:
    """Name an optimizer with what is known of its birthplace: `Adam (built at train.py:31)`."""
    return f"{optimizer.name} (built at {optimizer.built_at})" if optimizer.built_at else optimizer.name


def named(optimizers: Iterable[OptimizerRecord]) -> str:
    """Name several, each once."""
    return " and ".join(dict.fromkeys(called(optimizer) for optimizer in optimizers)) or "no optimizer"


def at(place: str | None) -> str:
    """Write ` at train.py:31`, or nothing where the line is unknown."""
    return f" at {place}" if place else ""


def times(count: int) -> str:
    """Write a number of times in words that read well."""
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def plural(count: int, noun: str) -> str:
    """Write `1 step`, `2 steps`, `2 backward passes`."""
    if count == 1:
        return f"1 {noun}"
    return f"{count} {noun}es" if noun.endswith("ss") else f"{count} {noun}s"


def dtype_or_lr(dtype: str, smallest_lr: float | None) -> str:
    """Say what would let an update through that is too small for the weights."""
    remedy = "keep these weights in float32" if dtype != "float32" else "keep these weights in float64"
    if smallest_lr is None:
        return f"{remedy}."
    if smallest_lr > 1:
        return (
            f"look at the other hyperparameters (eps, betas): only a learning rate of {number(smallest_lr)} would do."
        )
    return f"{remedy}, or use a learning rate of at least {number(smallest_lr)}."


def number(value: float) -> str:
    """Write a number with two significant digits."""
    if value == 0:
        return "0"
    return f"{value:.1e}" if abs(value) < 0.01 or abs(value) >= 10_000 else f"{value:.2g}"  # noqa: PLR2004
