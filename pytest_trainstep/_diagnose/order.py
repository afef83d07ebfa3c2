"""What comes before what in a step: clips, the loss scale, schedulers; and whether the first update goes downhill."""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

from pytest_trainstep._events import ClipEvent, FirstUpdate, ScheduleEvent
from pytest_trainstep._record import StepEvent, StepRecord

from .because import Because, at, called, number, plural

_TAKEN_INTO_ACCOUNT = 1e-3  # of the scale: a limit above that was multiplied by it
_CERTAIN = 4.0  # standard deviations of the cosine between an unrelated update and the gradient
_STEEP = (0.05, 0.9)  # the cosine that is asked for lies between these


class Slip(NamedTuple):
    """One cause and what shows it."""

    cause: str
    because: Because
    parameters: tuple[str, ...] = ()


# -- clipping ----------------------------------------------------------------------------------


def clipping(record: StepRecord) -> list[Slip]:
    """Gradients are clipped after backward (and after `unscale_`) and before the step."""
    found = [_scaled(clip) or _after_step(clip, record) or _too_early(clip, record) for clip in record.clips]
    found += [
        Slip(
            "unscaled-twice",
            Because(
                f"the gradients had been divided by the loss scale ({number(event.scale)}) already when GradScaler"
                f" divided them{at(event.at)}: the update is {number(event.scale)} times too small.",
                "use scaler.unscale_(optimizer) in place of the division: step() remembers that it was called.",
            ),
        )
        for event in record.unscaled_twice
    ]
    return [slip for slip in found if slip is not None]


def _scaled(clip: ClipEvent) -> Slip | None:
    if clip.scale is None or not clip.shrank or not math.isfinite(clip.limit):
        return None
    if clip.unscaled_by_user and clip.limit >= _TAKEN_INTO_ACCOUNT * clip.scale:
        return None
    return Slip(
        "clip-before-unscale",
        Because(
            f"gradients were clipped{at(clip.at)} to {number(clip.limit)} while they were still multiplied by the loss"
            f" scale ({number(clip.scale)}), and divided by it afterwards.",
            "call scaler.unscale_(optimizer) before the clip.",
        ),
        clip.parameters,
    )


def _after_step(clip: ClipEvent, r: StepRecord) -> Slip | None:
    """A clip that shrinks gradients which a step has used already, and that nothing uses afterwards."""
    if clip.waiting or not clip.used or not clip.shrank or not math.isfinite(clip.limit):
        return None
    step = _last_step_before(clip, r)
    if step is None or step.call != clip.call or _used_later(clip, r):
        return None
    return Slip(
        "clip-after-step",
        Because(
            f"gradients were clipped{at(clip.at)} after {called(r.optimizers[step.optimizer])} had"
            f" stepped{at(step.at)} with them as they were; what was clipped is never used.",
            "clip between backward() and step().",
        ),
        clip.parameters,
    )


def _too_early(clip: ClipEvent, r: StepRecord) -> Slip | None:
    """A clip that finds no gradient, before the backward pass whose gradients are used without a clip."""
    if clip.waiting or (clip.used and clip.shrank) or not math.isfinite(clip.limit):
        return None
    step = next((one for one in r.steps if one.order > clip.order and one.call == clip.call and one.fresh), None)
    passed = [one for one in r.backwards if clip.order < one.order and one.call == clip.call and one.reached]
    if step is None or not passed or passed[0].order > step.order:
        return None
    later = [one for one in r.clips if clip.order < one.order <= step.order and one.waiting]
    if later or clip.used or not _holds(step, clip, r):
        return None
    return Slip(
        "clip-before-backward",
        Because(
            f"gradients were clipped{at(clip.at)} before the backward pass{at(passed[0].at)}, when there were none;"
            f" {called(r.optimizers[step.optimizer])} stepped{at(step.at)} without a clip.",
            "clip between backward() and step().",
        ),
        clip.parameters,
    )


def _holds(step: StepEvent, clip: ClipEvent, r: StepRecord) -> bool:
    names = set(clip.parameters)
    return any(step.optimizer in row.held_by for name, row in r.parameters.items() if name in names)


def _last_step_before(clip: ClipEvent, r: StepRecord) -> StepEvent | None:
    steps = [one for one in r.steps if one.order <= clip.order and not one.skipped and _holds(one, clip, r)]
    return steps[-1] if steps else None


def _used_later(clip: ClipEvent, r: StepRecord) -> bool:
    """The clipped gradients stay and go into a later step: a fault, but another one."""
    later = next((one for one in r.steps if one.order > clip.order and _holds(one, clip, r)), None)
    return later is not None and any(later.gradients.get(word) for word in ("mixed", "stale"))


# -- schedulers --------------------------------------------------------------------------------


def scheduling(record: StepRecord) -> list[Slip]:
    """The scheduler steps after the optimizer: the first learning rate is used."""
    found = (_skipped_rate(event, record) for event in record.schedules)
    return [slip for slip in found if slip is not None]


def _skipped_rate(event: ScheduleEvent, r: StepRecord) -> Slip | None:
    if event.optimizer is None or not event.unused_lr:  # a warm-up that leaves its 0 at once means it
        return None
    steps = [one for one in r.steps if one.optimizer == event.optimizer and not one.skipped]
    mine = [one for one in r.schedules if one.optimizer == event.optimizer]
    if not steps or event is not mine[0] or steps[0].order <= event.order or steps[0].call != event.call:
        return None
    if any(one.order < event.order and one.skipped and one.optimizer == event.optimizer for one in r.steps):
        return None
    ends = [0, *(one.order for one in steps)]
    for before, after in itertools.pairwise(ends):
        if sum(before <= one.order < after for one in mine) != 1:
            return None  # not one for each step: counted in batches, or fast-forwarded
    return Slip(
        "scheduler-before-optimizer",
        Because(
            f"{event.name}.step(){at(event.at)} ran before the first step of {called(r.optimizers[event.optimizer])}"
            f"{at(steps[0].at)}: the learning rate {number(event.unused_lr)} was never used, every step runs with"
            " that of the next one.",
            "call scheduler.step() after optimizer.step().",
        ),
    )


# -- direction -----------------------------------------------------------------------------------


def direction(record: StepRecord) -> list[Slip]:
    """The first update of each optimizer points downhill."""
    return [_uphill(one, record) for one in record.first_updates if one.cosine > _limit(one)]


def _limit(update: FirstUpdate) -> float:
    """Return the cosine above which an update does not go uphill by chance (added noise)."""
    low, high = _STEEP
    return min(high, max(low, _CERTAIN / math.sqrt(max(update.elements, 1))))


def _uphill(update: FirstUpdate, r: StepRecord) -> Slip:
    return Slip(
        "update-uphill",
        Because(
            f"the first update of {called(r.optimizers[update.optimizer])}{at(update.at)} goes along the gradient, not"
            f" against it (cosine {update.cosine:.2g} over {plural(update.elements, 'element')}): the loss is"
            " maximised.",
            "check the sign in the optimizer's step, or set maximize=True where a reward is maximised.",
        ),
        update.parameters,
    )
