"""Why a loss does not fall."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping
from typing import TYPE_CHECKING

from .because import Because, at, number, plural

if TYPE_CHECKING:
    from .course import Course, Rule

_RANGES: Mapping[str, tuple[float, float]] = {
    "relu": (0.0, math.inf),
    "softplus": (0.0, math.inf),
    "sigmoid": (0.0, 1.0),
    "softmax": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
}
_SMALL_LR = 0.01  # of the highest
_NEAR_CHANCE = 0.1


def loss_not_finite(c: Course) -> Because | None:
    """The loss became NaN or infinite."""
    bad = next((place for place, value in enumerate(c.losses) if not math.isfinite(value)), None)
    if bad is None:
        return None
    before = f", after {number(c.losses[bad - 1])}" if bad else ""
    return Because(
        f"measurement {bad + 1} of {len(c.losses)} of the loss is {c.losses[bad]}{before}.",
        "lower the learning rate, clip the gradients, or look for log(0), 0/0 and sqrt(0) (assert_step_finite names the place).",
    )


def loss_broadcast(c: Course) -> Because | None:
    """Predictions and targets have different shapes, and the loss broadcasts them against each other."""
    call = next((call for call in c.calls if call.broadcast), None)
    if call is None:
        return None
    return Because(
        f"`{call.name}`{at(call.at)} broadcasts {call.shapes}: every prediction is compared with every target, and the"
        " best answer is then their mean.",
        "give both the same shape: prediction.squeeze(-1), or target.unsqueeze(-1).",
    )


def loss_maximized(c: Course) -> Because | None:
    """The step climbs: backward starts from the negative of the loss, or the optimizer maximizes."""
    pairs = [(root, loss) for root, loss in zip(c.roots, c.losses, strict=False) if root is not None]
    opposite = [root for root, loss in pairs if loss and abs(root + loss) <= 1e-4 * abs(loss)]
    if len(opposite) >= max(1, 0.9 * len(c.losses)):
        return Because(
            "backward started from the negative of the loss in each step, so each step makes the loss larger.",
            "call backward on the loss itself.",
        )
    if c.maximizes and c.losses and c.end > c.losses[0]:
        return Because(
            "the optimizer was built with maximize=True, and the loss rose.",
            "build it without maximize, or report the reward in place of the loss.",
        )
    return None


def double_softmax(c: Course) -> Because | None:
    """The predictions are probabilities already, and the loss takes a softmax (or a sigmoid) of them once more."""
    for call in c.calls:
        if call.name == "cross_entropy" and call.probabilities and call.activation in (None, "softmax"):
            return Because(
                f"`cross_entropy`{at(call.at)} got rows that sum to 1: probabilities; it applies log_softmax itself, so"
                f" the loss cannot come below {number(_floor(call.classes or 2))}.",
                "return logits: leave the softmax out of the model.",
            )
        if call.name == "binary_cross_entropy_with_logits" and call.activation == "sigmoid":
            return Because(
                f"`{call.name}`{at(call.at)} got the output of a sigmoid; it applies one itself.",
                "return logits, or use binary_cross_entropy.",
            )
        if call.name == "nll_loss" and call.probabilities:
            return Because(
                f"`nll_loss`{at(call.at)} got probabilities, and takes log-probabilities.",
                "use log_softmax, or cross_entropy on logits.",
            )
    return None


def _floor(classes: int) -> float:
    """Return -log softmax of a one-hot vector at its one: log(e + C - 1) - 1."""
    return math.log(math.e + classes - 1) - 1


def target_out_of_range(c: Course) -> Because | None:
    """Targets lie where the output's activation cannot reach."""
    for call in c.calls:
        if not call.regression or call.activation is None:
            continue
        low, high = _RANGES[call.activation]
        if call.wanted[0] < low - 1e-3 or call.wanted[1] > high + 1e-3:
            return Because(
                f"the predictions at `{call.name}`{at(call.at)} come out of a {call.activation} (range {low:g} to {high:g}),"
                f" and the targets go from {number(call.wanted[0])} to {number(call.wanted[1])}.",
                "put no such activation behind the last layer, or scale the targets.",
            )
    return None


def output_constant(c: Course) -> Because | None:
    """The prediction is the same for every sample: dead units, or the input does not reach the output."""
    last = [call for call in c.calls if call.same_rows and call.wanted[0] != call.wanted[1]]
    if not last or len(last) < len(c.calls):
        return None
    return Because(
        f"all predictions at `{last[-1].name}`{at(last[-1].at)} are the same ({number(last[-1].predicted[0])} to"
        f" {number(last[-1].predicted[1])}) while the targets differ.",
        "look for dead or saturated units (initialisation, learning rate) and for an input that is not used.",
    )


def learning_rate_vanishes(c: Course) -> Because | None:
    """The learning rate decays to nothing long before the end."""
    rates = [rate for rate in c.lrs if rate is not None]
    peak = max(rates, default=0.0)
    small = [place for place, rate in enumerate(rates) if rate < _SMALL_LR * peak]
    if not peak or 2 * len(small) < len(rates) or rates.index(peak) > small[0]:
        return None
    return Because(
        f"the learning rate fell from {number(peak)} to below {_SMALL_LR:.0%} of it by step {small[0] + 1} of"
        f" {len(rates)}, and is {number(rates[-1])} at the end.",
        "step the scheduler once per epoch, not per batch, or give it its length in steps.",
    )


def dropout_too_strong(c: Course) -> Because | None:
    """Only with dropout off is the loss low enough: the noise of dropout keeps it up."""
    if c.calm is None:
        return None
    return Because(
        f"with dropout off the loss of the same batch is {number(c.calm)}, with dropout on {number(c.end)}.",
        "lower the rate of dropout (p is what is dropped, not what is kept), or measure in eval mode in loss_fn.",
    )


def units_alike(c: Course) -> Because | None:
    """All units of a layer are copies of one: they started equal and receive equal gradients."""
    if not c.alike:
        return None
    return Because(
        f"all rows of {c.alike[0]} are equal still: units that start equal receive equal gradients and stay equal.",
        "initialise weights randomly (nn.init.kaiming_uniform_, xavier_uniform_); only biases may be constant.",
    )


def gradients_not_cleared(c: Course) -> Because | None:
    """Gradients of earlier steps are still in the gradients that the optimizer uses."""
    steps = c.record.steps if c.record else ()
    mixed = [event for event in steps if "mixed" in event.gradients or "stale" in event.gradients]
    if not steps or 2 * len(mixed) < len(steps):
        return None
    return Because(
        f"{len(mixed)} of {plural(len(steps), 'optimizer step')} used gradients that held those of earlier steps.",
        "call optimizer.zero_grad() before each backward (or after each step).",
    )


def loss_diverges(c: Course) -> Because | None:
    """The loss grows: steps overshoot."""
    if len(c.losses) < 2 or c.end <= 1.5 * c.losses[0] or c.losses[0] < 0:  # noqa: PLR2004
        return None
    rates = [rate for rate in c.lrs if rate is not None]
    lr = f" at a learning rate of {number(max(rates))}" if rates else ""
    return Because(
        f"the loss rose from {number(c.losses[0])} to {number(c.end)}{lr}: probably the steps are too large.",
        "lower the learning rate, warm it up, or clip the gradients.",
    )


def still_falling(c: Course) -> Because | None:
    """The loss is on its way and had not arrived: too few steps, or too small ones."""
    quarter = len(c.losses) // 4
    if quarter < 2:  # noqa: PLR2004
        return None
    third, last = statistics.median(c.losses[-2 * quarter : -quarter]), statistics.median(c.losses[-quarter:])
    fall, total = third - last, c.losses[0] - last
    half = c.losses[-2 * quarter :]
    steadily = sum(b < a for a, b in itertools.pairwise(half)) >= 0.9 * (len(half) - 1)
    clearly = fall >= 0.1 * abs(third) and max(c.losses[-quarter:]) < third
    if not clearly and not (steadily and fall >= 0.1 * total > 0):
        return None
    return Because(
        f"it is still falling: from {third:.4g} to {last:.4g} between the third and the last quarter of the steps.",
        "run more steps, or raise the learning rate.",
    )


def no_better_than_constant(c: Course) -> Because | None:
    """The loss settles where the best constant prediction would put it: the input tells nothing about the target."""
    roots = [root for root in c.roots if root is not None]
    ends = [c.end, *([statistics.median(roots[-max(1, len(roots) // 5) :])] if roots else [])]
    for call in c.calls:
        for end in ends:
            if call.chance and abs(end - call.chance) <= _NEAR_CHANCE * call.chance:
                return Because(
                    f"the loss settles at {number(end)}; the best constant prediction gives {number(call.chance)} on these"
                    " targets. Probably inputs and targets do not belong together (shuffled apart, shifted), or the"
                    " input does not reach the output.",
                    "check that one permutation or index picks both, and that forward uses its input.",
                )
    return None


# what may lie behind gradients that are all zero
BEHIND_ZEROS: tuple[Rule, ...] = (loss_broadcast, target_out_of_range, output_constant)
OF_THE_COURSE: tuple[Rule, ...] = (
    loss_broadcast,
    loss_maximized,
    double_softmax,
    target_out_of_range,
    output_constant,
    learning_rate_vanishes,
    dropout_too_strong,
    units_alike,
    gradients_not_cleared,
)
LAST_OF_ALL: tuple[Rule, ...] = (loss_diverges, still_falling, no_better_than_constant)
