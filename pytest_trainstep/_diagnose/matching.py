"""Why an update is not the reference's: ordered rules over how far and in which direction it is off."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from . import scaling
from .because import Because, at, number, plural, times
from .deviations import Answer, Deviation, Sides, pooled_cosine, telling, unexplained

_SAME, _OPPOSITE = 0.9, -0.99
_CLOSE = 0.02


Rule = Callable[[Sequence[Deviation], Sides], Answer | None]


def non_finite(rows: Sequence[Deviation], seen: Sides) -> Answer | None:
    """Gradients or weights are NaN or infinite."""
    bad = [row for row in rows if not math.isfinite(row.error)]
    if not bad:
        return None
    return Answer(
        bad,
        Because(
            "the weights are NaN or infinite (or of another shape) after one of the two.",
            "find the first operation that is not finite: torch.autograd.set_detect_anomaly(True) names it.",
        ),
    )


def step_skipped(rows: Sequence[Deviation], seen: Sides) -> Answer | None:
    """A gradient scaler skipped the step because of NaN or infinity."""
    still = [row for row in rows if row.moved == 0]
    if not still or not seen.skipped:
        return None
    text = f"a gradient scaler skipped the step in call {seen.call}: a gradient was NaN or infinite."
    return Answer(still, Because(text, "find the operation that overflows, or let the scale settle before this test."))


def update_missing(rows: Sequence[Deviation], seen: Sides) -> Answer | None:
    """The reference moves them and the step does not."""
    still = [row for row in rows if row.moved == 0]
    if not still:
        return None
    text = "the step left them where they were; the reference moves them."
    return Answer(still, Because(text, "make the step train them; assert_weights_update says why it does not."))


def stepped_twice(rows: Sequence[Deviation], seen: Sides) -> Answer | None:
    """An optimizer stepped more often for them than the reference did."""
    often = [row for row in rows if row.steps > max(row.reference_steps, 1)]
    if not often:
        return None
    farther = sum(row.moved for row in often) > 1.2 * sum(row.wanted for row in often)
    if not (pooled_cosine(often) > _SAME and farther) and not all(row.reference_steps for row in often):
        return None
    most, least = max(row.steps for row in often), max(1, *(row.reference_steps for row in often))
    return Answer(
        often,
        Because(
            f"optimizers stepped {times(most)} for them in one call (last{at(seen.stepped_at)}), {times(least)} in the reference.",
            "step once for each batch, and leave a shared parameter to one optimizer.",
        ),
    )


def opposite_sign(rows: Sequence[Deviation], seen: Sides) -> Answer | None:
    """The step goes the opposite way: a sign, or `maximize`."""
    if pooled_cosine(rows) > _OPPOSITE or any(row.cosine > _OPPOSITE for row in telling(rows)):
        return None
    flag = seen.optimizer is not None and seen.maximize != seen.reference_maximize
    why = f": {seen.optimizer} has maximize={seen.maximize}" if flag else ""
    return Answer(
        rows,
        Because(
            f"their update is the reference's with the opposite sign (cosine {pooled_cosine(rows):.2f}){why}.",
            "turn the sign of the loss, or drop maximize=True: an optimizer minimises.",
        ),
    )


def decay_differs(rows: Sequence[Deviation], seen: Sides) -> Answer | None:
    """What differs is a multiple of the weights: weight decay twice, not at all, or where none should be."""
    sure = [row for row in rows if row.numel > 1]
    if sum(row.numel for row in sure) < 4 or not all(row.decayed for row in sure):  # noqa: PLR2004 - too few numbers to tell
        return None
    rate = sum(row.along for row in sure) / sum(row.weights**2 for row in sure)
    where = " All are norm gains or biases." if all(len(row.shape) < 2 for row in rows) else ""  # noqa: PLR2004 - vectors
    first = sure[0]
    own = (first.lr or 0.0) * (first.decay or 0.0)
    known = f" (lr x weight_decay is {number(own)})" if own and rate < 0 else ""
    twice = " That is the optimizer's decay once more." if own and abs(-rate / own - 1) < _CLOSE else ""
    if twice and first.reference_decay == 0:
        twice = " The reference does not decay them."
    more = "more" if rate < 0 else "less"
    return Answer(
        rows,
        Because(
            f"they are decayed {more} than in the reference: the difference is {number(rate)} times the weights{known}.{twice}{where}",
            "decay in one place only, and in the parameters that the reference decays.",
        ),
    )


def gradients_left_over(rows: Sequence[Deviation], seen: Sides) -> Answer | None:
    """Gradients from before the call are in the one that the step used."""
    if not seen.left_over:
        return None
    text = "gradients from before this call were still there when backward added to them."
    return Answer(rows, Because(text, "clear the gradients before the first backward of every step."))


def gradients_added_up(rows: Sequence[Deviation], seen: Sides) -> Answer | None:
    """Gradients of another backward pass are in the one that the step used."""
    if seen.passes > max(seen.reference_passes, 1):
        one = f"{seen.reference_passes or 'one'} in the reference"
        return Answer(
            rows,
            Because(
                f"the gradient that the step used holds {plural(seen.passes, 'backward pass')} ({one}): probably"
                " gradients were not cleared between them.",
                "call zero_grad() before the backward pass that the step is meant to use.",
            ),
        )
    return None


def optimizer_state_differs(rows: Sequence[Deviation], seen: Sides) -> Answer | None:
    """One optimizer carries a state of earlier steps and the other is new."""
    if seen.rebuilt:
        text = f"a new {seen.optimizer} stepped in call {seen.call}: what it had learned in earlier calls is lost."
        return Answer(rows, Because(text, "build the optimizer once, outside the step."))
    if not seen.had_state or seen.reference_had_state is not False:
        return None
    text = f"{seen.optimizer} came with a state of earlier steps (momentum, moments), and the reference's optimizer is new."
    fix = "compare from a fresh optimizer, or load_state_dict the state into the reference's."
    return Answer(rows, Because(text, fix))


def random_streams_differ(rows: Sequence[Deviation], seen: Sides) -> Answer | None:
    """The step draws other random numbers than the reference, or more of them."""
    if not seen.streams_apart:
        return None
    return Answer(
        rows,
        Because(
            "the step and the reference start from the same random numbers and do not draw the same: probably dropout,"
            " noise or sampling.",
            "let both draw the same numbers in the same order, or switch the noise off for this test.",
        ),
    )


def direction_differs(rows: Sequence[Deviation], seen: Sides) -> Answer | None:
    """The update points elsewhere: another loss, another gradient, another formula of the optimizer."""
    unwanted = [row for row in rows if not row.wanted]
    if unwanted:
        text = "the step moves them, and the reference leaves them alone."
        return Answer(
            unwanted, Because(text, "find what writes them: an optimizer that holds them, or a write by hand.")
        )
    cosine = pooled_cosine(rows)
    if cosine > 1 - 1e-4:
        return None
    rest = f", while {seen.others} of the others agree" if seen.others else ""
    place = "" if seen.calls == 1 else f" in call {seen.call}"
    return Answer(
        rows,
        Because(
            f"their update points elsewhere than the reference's (cosine {cosine:.4f}){place}{rest}: probably another loss"
            " or gradient reaches them, or the optimizer computes otherwise.",
            "compare the two gradients of these parameters, then the optimizers' arguments.",
        ),
    )


RULES: tuple[tuple[str, Rule], ...] = (
    ("non-finite", non_finite),
    ("step-skipped", step_skipped),
    ("update-missing", update_missing),
    ("stepped-twice", stepped_twice),
    ("gradients-not-cleared", gradients_left_over),
    ("opposite-sign", opposite_sign),
    ("scheduler-before-optimizer", scaling.lr_stepped_early),
    ("clip-after-step", scaling.clipped_after_step),
    ("optimizer-state-differs", optimizer_state_differs),
    ("loss-scale-wrong", scaling.loss_scale_wrong),
    ("update-scaled", scaling.update_scaled),
    ("scaled-per-tensor", scaling.scaled_per_tensor),
    ("decay-differs", decay_differs),
    ("gradients-added-up", gradients_added_up),
    ("random-streams-differ", random_streams_differ),
    ("direction-differs", direction_differs),
)


def explain(rows: Sequence[Deviation], seen: Sides) -> list[tuple[str, Answer]]:
    """Ask the rules in their order until every row has its cause."""
    left, answers = list(rows), []
    for name, rule in RULES:
        said = rule(left, seen) if left else None
        if said is not None:
            answers.append((name, said))
            named = {row.name for row in said.rows}
            left = [row for row in left if row.name not in named]
    if left:
        answers.append(unexplained(left, f"cosine {pooled_cosine(left):.5f}, {plural(seen.passes, 'backward pass')}"))
    return answers
