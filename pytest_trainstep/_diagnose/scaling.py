"""Updates of the right direction and the wrong length: rules for one factor, or one for each tensor."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .because import Because, at, number
from .deviations import Answer, Deviation, Sides, one_factor, telling, times_as_large, whole_number

_CLOSE = 0.02
_LEAST_SCALE = 6  # a loss scale is at least two to this power


def lr_stepped_early(rows: Sequence[Deviation], seen: Sides) -> Answer | None:
    """The learning rate was changed before the step: a scheduler that steps before its optimizer."""
    factor = one_factor(rows)
    first = telling(rows)[0]
    if factor is None or not first.lr_before or first.lr is None or first.lr == first.lr_before:
        return None
    if abs(factor * first.lr_before / first.lr - 1) > _CLOSE if first.lr else True:
        return None
    return Answer(
        rows,
        Because(
            f"the lr was {number(first.lr_before)} before call {seen.call} and {number(first.lr)} at the step{at(seen.stepped_at)};"
            f" their update is {times_as_large(factor)} the reference's.",
            "step the scheduler after the optimizer.",
        ),
    )


def clipped_after_step(rows: Sequence[Deviation], seen: Sides) -> Answer | None:
    """The gradient was clipped after the step had used it."""
    factor = one_factor(rows)
    if factor is None or factor < 1 + _CLOSE or seen.clipped_after is None or seen.clipped_after > 1 - _CLOSE:
        return None
    if abs(seen.clipped_after * factor - 1) > _CLOSE:
        return None
    return Answer(
        rows,
        Because(
            f"the gradient's norm fell to {number(seen.clipped_after)} of itself after the step{at(seen.stepped_at)} had used it.",
            "clip between backward() and step().",
        ),
    )


def loss_scale_wrong(rows: Sequence[Deviation], seen: Sides) -> Answer | None:
    """Gradients are divided by the loss scale too often, or not, or clipped while they are still multiplied by it."""
    factor = one_factor(rows)
    if factor is None or factor <= 0:
        return None
    power = round(math.log2(factor))
    if abs(power) < _LEAST_SCALE or abs(factor / 2.0**power - 1) > _CLOSE / 4:
        return None
    return Answer(
        rows,
        Because(
            f"their update is 2^{power} times the reference's: probably a loss scale that is divided out "
            f"{'too often, or a clip before unscaling' if power < 0 else 'too rarely'}.",
            "call scaler.unscale_(optimizer) once, before clipping, and leave the rest to scaler.step(optimizer).",
        ),
    )


def update_scaled(rows: Sequence[Deviation], seen: Sides) -> Answer | None:
    """The direction is right and the length is off by one constant factor."""
    factor = one_factor(rows)
    if factor is None or factor <= 0:
        return None
    first = telling(rows)[0]
    guess, fix = (
        "probably another lr or momentum, a division, or clipping",
        "compare lr, momentum, reduction and clipping.",
    )
    if first.lr and first.reference_lr and abs(first.lr / first.reference_lr / factor - 1) < _CLOSE:
        guess, fix = f"the lr is {number(first.lr)}, the reference's {number(first.reference_lr)}", "use the same lr."
    elif whole_number(factor):
        guess, fix = (
            "probably a sum in place of a mean, or a missing division",
            "divide the loss by the number of its parts.",
        )
    elif whole_number(1 / factor):
        guess, fix = "probably a division too many", "divide the loss once."
    elif seen.clipped is not None and seen.clipped < 1 - _CLOSE and factor < 1:
        guess, fix = (
            f"the step clips its gradient to {number(seen.clipped)} of its norm",
            "clip to the norm of the reference.",
        )
    elif factor > 1:
        guess, fix = (
            "probably the reference clips the gradient and the step does not (or later)",
            "clip between backward() and step().",
        )
    return Answer(
        rows, Because(f"their update is {times_as_large(factor)} the reference's, in its direction: {guess}.", fix)
    )


def scaled_per_tensor(rows: Sequence[Deviation], seen: Sides) -> Answer | None:
    """Every parameter's direction is right and its length is off by a factor of its own."""
    sure = telling(rows)
    if len(sure) < 2 or not all(row.aligned and row.factor > 0 for row in sure):  # noqa: PLR2004 - one has one factor
        return None
    low, high = min(row.factor for row in sure), max(row.factor for row in sure)
    return Answer(
        rows,
        Because(
            f"each parameter's update is the reference's times a factor of its own ({number(low)} to {number(high)}):"
            " probably clipped tensor by tensor, or in groups with other rates.",
            "clip all parameters in one call, and compare the learning rates of the groups.",
        ),
    )
