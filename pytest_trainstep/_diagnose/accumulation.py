"""Why an accumulation window is not the whole batch: ordered rules over what happened inside the window."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .because import Because, at, number, plural
from .deviations import Answer, Deviation, Sides, pooled_cosine, times_as_large, unexplained, whole_number
from .matching import non_finite

_CLOSE = 0.01
_SHOWN = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What was seen in one call of `step_fn`, and how its gradients make up that of the whole batch.

    Attributes:
        passes: Backward passes in the call.
        steps: Optimizer steps, and where the first one stood: `passes_before`, `passes_after`.
        cleared, rescaled: Between how many passes the gradients were cleared, or changed in length.
        factor, cosine: Of the gradient that the first step used, against that of the whole batch.
        clipped_factor: The same factor, once both were clipped.
        weights: With which the passes' parts come nearest to the whole gradient; empty if not known.
        residue: What then still differs; `plain`: what differs when each counts once (both relative).
        slack: What may be left over of a gradient that is said to be a sum of parts (relative).
        parameters: How many numbers a gradient has.
        by_batch: Layers that use the statistics of the batch even in eval mode.
    """

    passes: int = 0
    steps: int = 0
    passes_before: int = 0
    passes_after: int = 0
    skipped: bool = False
    left_over: bool = False
    cleared: int = 0
    rescaled: int = 0
    stepped_at: str | None = None
    backward_at: str | None = None
    factor: float = math.nan
    cosine: float = math.nan
    clipped_factor: float = math.nan
    max_norm: float | None = None
    weights: tuple[float, ...] = ()
    residue: float = math.nan
    plain: float = math.nan
    slack: float = 1e-3
    parameters: int = 0
    by_batch: tuple[str, ...] = ()


Rule = Callable[[Sequence[Deviation], Window], Because | None]


def step_skipped(rows: Sequence[Deviation], seen: Window) -> Because | None:
    """A gradient scaler skipped the step because of NaN or infinity."""
    if seen.steps or not seen.skipped:
        return None
    return Because(
        "a gradient scaler skipped the step of this window: a gradient was NaN or infinite.",
        "find the operation that overflows, or let the scale settle before this test.",
    )


def window_not_finished(rows: Sequence[Deviation], seen: Window) -> Because | None:
    """No optimizer step was made in the call: it is only a part of a window."""
    if seen.steps or any(row.moved for row in rows):
        return None
    return Because(
        f"{plural(seen.passes, 'backward pass')} and no optimizer step in this call of step_fn.",
        "let one call of step_fn run a whole window, micro-batches and optimizer step.",
    )


def stepped_inside_window(rows: Sequence[Deviation], seen: Window) -> Because | None:
    """The optimizer stepped before all micro-batches had been through backward."""
    if not seen.steps or not seen.passes_after:
        return None
    return Because(
        f"the first of {plural(seen.steps, 'optimizer step')} came{at(seen.stepped_at)} after {seen.passes_before} of"
        f" {plural(seen.passes, 'backward pass')}.",
        "step when (i + 1) % accumulate == 0, counting i from 0, and at the end of the window.",
    )


def stepped_twice(rows: Sequence[Deviation], seen: Window) -> Because | None:
    """An optimizer stepped more often than once in the window."""
    if seen.steps <= 1:
        return None
    return Because(
        f"{plural(seen.steps, 'optimizer step')} were made with the gradients of one window (last{at(seen.stepped_at)}).",
        "step once for each window.",
    )


def gradients_left_over(rows: Sequence[Deviation], seen: Window) -> Because | None:
    """Gradients from before the window are in it."""
    if not seen.left_over or seen.plain > seen.slack:
        return None
    return Because(
        "gradients from before this call were still there when the first backward added to them.",
        "clear the gradients at the start of each window.",
    )


def cleared_inside_window(rows: Sequence[Deviation], seen: Window) -> Because | None:
    """The gradients were cleared between the micro-batches of a window."""
    if not seen.cleared:
        return None
    return Because(
        f"the gradients were cleared between the micro-batches ({seen.cleared} of {max(seen.passes - 1, 1)} times); only"
        " what came after the last time is left at the step.",
        "clear them once for each window, not for each micro-batch.",
    )


def clipped_inside_window(rows: Sequence[Deviation], seen: Window) -> Because | None:
    """The gradients were clipped or scaled between the micro-batches of a window."""
    if not seen.rescaled or not (seen.plain <= seen.slack or seen.residue <= seen.slack):
        return None
    return Because(
        f"the length of the accumulated gradient was changed {plural(seen.rescaled, 'time')} between backward passes:"
        " clipped, unscaled or divided inside the window.",
        "clip once, after the last backward of the window and before the step.",
    )


def not_divided(rows: Sequence[Deviation], seen: Window) -> Because | None:
    """Means of micro-batches were added and never divided by their number."""
    if seen.passes < 2 or whole_number(_factor(seen)) != seen.passes:  # noqa: PLR2004 - one is no window
        return None
    return Because(
        f"the accumulated gradient is {seen.passes} times that of the whole batch, and there are {seen.passes} micro-batches.",
        "divide each micro-batch's loss by the number of micro-batches (or weight it by its share of the samples).",
    )


def divided_twice(rows: Sequence[Deviation], seen: Window) -> Because | None:
    """The loss was divided by the number of micro-batches more than once."""
    times = whole_number(1 / _factor(seen))
    if times is None:
        return None
    return Because(
        f"the accumulated gradient is 1/{times} of that of the whole batch ({plural(seen.passes, 'backward pass')}).",
        "divide in one place: the trainer, the loss function or the loop.",
    )


def window_scaled(rows: Sequence[Deviation], seen: Window) -> Because | None:
    """The accumulated gradient has the right direction and the wrong length."""
    factor = _factor(seen)
    if not abs(factor - 1) > _CLOSE:
        return None
    return Because(
        f"the accumulated gradient is {times_as_large(factor)} that of the whole batch, in its direction"
        f" ({plural(seen.passes, 'backward pass')}).",
        "compare the reductions of the losses (sum, mean, divisions).",
    )


def clipping_differs(rows: Sequence[Deviation], seen: Window) -> Because | None:
    """The accumulated gradient is right, and is clipped otherwise than with `max_norm`."""
    if not seen.plain <= seen.slack or not abs(seen.clipped_factor - 1) > seen.slack:
        return None
    asked = "no max_norm= was given" if seen.max_norm is None else f"max_norm={seen.max_norm:g}"
    return Because(
        f"the micro-batches add up to the whole batch's gradient, but at the step it is {number(seen.clipped_factor)} times"
        f" what it should be ({asked}).",
        "clip to the same norm in both: pass max_norm=, and clip once before the step.",
    )


def micro_batches_misweighted(rows: Sequence[Deviation], seen: Window) -> Because | None:
    """Micro-batches count more or less than their share: means of unequal parts, or a wrong divisor."""
    if not _splits(seen) or seen.plain <= seen.slack or min(seen.weights) <= 0:
        return None
    middle = sorted(seen.weights)[len(seen.weights) // 2]
    shares = ", ".join(number(weight / middle) for weight in seen.weights[:_SHOWN])
    more = ", ..." if len(seen.weights) > _SHOWN else ""
    return Because(
        f"the micro-batches' gradients add up to the whole batch's only with unequal weights ({shares}{more}):"
        " probably each loss was averaged over its own samples or tokens, or divided by another number each.",
        "sum the losses and divide once by the samples (tokens, weights) of the whole window.",
    )


def loss_not_additive(rows: Sequence[Deviation], seen: Window) -> Because | None:
    """The loss of the whole batch is no sum over the micro-batches: penalties, negatives, batch statistics, lost samples."""
    if not seen.plain > seen.slack or not seen.residue > seen.slack or seen.parameters <= 2 * len(seen.weights):
        return None
    layers = f" ({', '.join(seen.by_batch)} normalise by the micro-batch)" if seen.by_batch else ""
    return Because(
        f"no weighting of the gradients of {plural(seen.passes, 'backward pass')} makes up that of the whole batch (the best"
        f" is {number(100 * seen.residue)} % off): probably a part of the loss does not split over samples{layers}, or"
        " samples are missing or counted twice.",
        "add penalties once for each window, compute what compares samples (negatives, statistics) over all of them, and"
        " check that the micro-batches make up the batch.",
    )


RULES: tuple[tuple[str, Rule], ...] = (
    ("step-skipped", step_skipped),
    ("window-not-finished", window_not_finished),
    ("stepped-inside-window", stepped_inside_window),
    ("stepped-twice", stepped_twice),
    ("cleared-inside-window", cleared_inside_window),
    ("gradients-not-cleared", gradients_left_over),
    ("clipped-inside-window", clipped_inside_window),
    ("not-divided", not_divided),
    ("divided-twice", divided_twice),
    ("update-scaled", window_scaled),
    ("clipping-differs", clipping_differs),
    ("micro-batches-misweighted", micro_batches_misweighted),
    ("loss-not-additive", loss_not_additive),
)


def _splits(seen: Window) -> bool:
    """Tell whether some weighting of the passes makes up the whole gradient, and not for want of numbers."""
    return len(seen.weights) > 1 and seen.parameters > 2 * len(seen.weights) and seen.residue <= seen.slack


def _factor(seen: Window) -> float:
    """Return the one factor of the accumulated gradient against the whole batch's, before any clipping; else NaN."""
    if seen.plain <= seen.slack:
        return 1.0
    if _splits(seen) and max(seen.weights) - min(seen.weights) <= (_CLOSE + seen.slack) * abs(max(seen.weights)):
        return len(seen.weights) / sum(seen.weights) if sum(seen.weights) > 0 else math.nan
    aligned = seen.cosine >= 1 - seen.slack**2 and seen.max_norm is None and seen.factor
    return seen.factor if aligned else math.nan


def explain(rows: Sequence[Deviation], seen: Window) -> list[tuple[str, Answer]]:
    """Ask the rules in their order; what happens in a window happens to all its parameters."""
    bad = non_finite(rows, Sides())
    if bad is not None:
        return [("non-finite", bad._replace(rows=rows))]
    for name, rule in RULES:
        because = rule(rows, seen)
        if because is not None:
            return [(name, Answer(rows, because))]
    facts = f"{plural(seen.passes, 'backward pass')}, {plural(seen.steps, 'step')}, gradient x {seen.factor:.4f}"
    return [unexplained(rows, f"{facts} (cosine {seen.cosine:.5f}), updates' cosine {pooled_cosine(rows):.5f}")]
