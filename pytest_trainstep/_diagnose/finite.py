"""What was not finite first, and where it came from."""

from __future__ import annotations

import itertools
import math

from pytest_trainstep._events import NonFinite
from pytest_trainstep._record import StepRecord

from .because import Because, at, number

_GROWS = 2.0  # times, in each of the last losses: training diverges
_LOSSES = 3


def first(record: StepRecord) -> list[NonFinite]:
    """Return what was not finite in the first call in which something was not, the first thing first."""
    if "finiteness" in record.followed:
        return list(record.non_finite)
    return _told_by_numbers(record)


def explain(event: NonFinite, record: StepRecord) -> tuple[str, Because]:
    """Return the cause and the sentence for the first thing that was not finite."""
    finite = [loss for loss in record.losses if math.isfinite(loss)]
    if _diverges(finite) and not (event.by and event.call == 1):
        return "diverged", Because(
            f"the loss grew from {number(finite[0])} to {number(finite[-1])} before it broke: each update overshoots.",
            "lower the learning rate, scale the inputs, or clip the gradients.",
        )
    made = _made(event)
    if event.what == "loss":
        return "loss-not-finite", Because(
            f"the loss of call {event.call} is {event.value}: {made}.",
            "guard that operation: a clamp, an epsilon inside it, logits in place of probabilities, a larger dtype.",
        )
    if event.what == "gradient":
        return "gradient-not-finite", Because(
            f"the loss of call {event.call} is finite and its gradient is not: {made}.",
            "keep that operation away from where its slope is infinite: clamp its input (also in the branch of a"
            " torch.where that is not taken), or add an epsilon.",
        )
    return "weights-not-finite", Because(
        f"loss and gradients of call {event.call} are finite, and the update made the weights {event.value}.",
        "lower the learning rate; look for a division by zero in the optimizer or in what writes the weights.",
    )


def _diverges(losses: list[float]) -> bool:
    last = [abs(loss) for loss in losses[-_LOSSES:]]
    if len(last) < _LOSSES or not last[0]:
        return False
    return all(later > _GROWS * earlier for earlier, later in itertools.pairwise(last))


def _made(event: NonFinite) -> str:
    inside = f" in {event.module}" if event.module else ""
    given = f" (given {event.given})" if event.given else ""
    if event.by:
        return f"`{event.by}`{at(event.at)}{inside} made {event.made or event.value}{given}"
    if event.entered:
        return f"a tensor that came in{at(event.at)} was not finite already (the batch, a buffer, a constant)"
    return "where it came from could not be seen; torch.autograd.set_detect_anomaly(True) may name it"


def _told_by_numbers(record: StepRecord) -> list[NonFinite]:
    """From what every record holds: losses, gradients at steps that changed nothing, weights at the end."""
    found: list[NonFinite] = []
    skipped = any(one.skipped for one in record.steps)  # a scaled loss may overflow, and that is provided for
    bad = [loss for loss in record.losses if not math.isfinite(loss)]
    if bad and not skipped:
        found.append(NonFinite(what="loss", call=record.calls, value="NaN" if math.isnan(bad[0]) else str(bad[0])))
    rows = record.parameters.values()
    used = tuple(
        row.name for row in rows if any(one.gradient == "non-finite" and not one.skipped for one in row.occasions)
    )
    if used:
        found.append(NonFinite(what="gradient", call=record.calls, value="not finite", parameters=used))
    weights = tuple(row.name for row in rows if not row.finite and not row.buffer and row.trainable)
    if weights:
        found.append(NonFinite(what="weight", call=record.calls, value="not finite", parameters=weights))
    return found
