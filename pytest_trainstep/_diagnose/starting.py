"""Why a loss does not start where chance puts it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .because import Because, at, number
from .learning import double_softmax, loss_broadcast, loss_not_finite

if TYPE_CHECKING:
    from .course import Course, Rule

_CONFIDENT = 3.0  # standard deviation of the logits of an untrained classifier


def wrong_reduction(c: Course) -> Because | None:
    """The loss is a sum where a mean is expected, or was divided once too often."""
    if not c.expected or not c.losses:
        return None
    ratio = c.losses[0] / c.expected
    for call in c.calls:
        for count in dict.fromkeys(
            (*call.prediction_shape[:1], math.prod(call.target_shape), math.prod(call.prediction_shape))
        ):
            margin = max(c.rtol, 0.1)
            if count > 2 and abs(ratio / count - 1) <= margin:  # noqa: PLR2004
                return Because(
                    f"the loss is {ratio:.3g} times what is expected, and there are {count} elements: probably a sum"
                    " in place of a mean.",
                    'use reduction="mean", or expect the sum.',
                )
            if count > 2 and abs(ratio * count - 1) <= margin:  # noqa: PLR2004
                return Because(
                    f"the loss is {number(ratio)} of what is expected, one part in {count}: probably it is divided by"
                    " the number of elements once too often.",
                    "divide once: either a mean, or a sum that you divide.",
                )
    return None


def other_class_count(c: Course) -> Because | None:
    """The output has another number of classes than the expected value stands for."""
    for call in c.calls:
        if call.classes and c.losses and c.expected is not None:
            here = math.log(call.classes)
            if abs(c.losses[0] - here) <= max(c.rtol, 0.1) * here and abs(here - c.expected) > c.rtol * abs(c.expected):
                return Because(
                    f"the output has {call.classes} classes, for which chance gives ln {call.classes} = {number(here)};"
                    f" {number(c.expected)} is what chance gives for {math.exp(min(c.expected, 50)):.3g}.",
                    "give the last layer one output for each class.",
                )
    return None


def outputs_too_large(c: Course) -> Because | None:
    """The untrained outputs are so far apart that the model is confident before it has learned anything."""
    for call in c.calls:
        logits = call.name in ("cross_entropy", "binary_cross_entropy_with_logits")
        if logits and call.spread > _CONFIDENT and c.losses and c.losses[0] > (c.expected or 0.0):
            return Because(
                f"the logits at `{call.name}`{at(call.at)} have a standard deviation of {number(call.spread)}"
                f" ({number(call.predicted[0])} to {number(call.predicted[1])}): confident, and by chance wrong.",
                "initialise the last layer with smaller weights, or normalise what goes into it.",
            )
    return None


RULES: tuple[Rule, ...] = (
    loss_not_finite,
    loss_broadcast,
    double_softmax,
    wrong_reduction,
    other_class_count,
    outputs_too_large,
)
