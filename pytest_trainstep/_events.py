"""Words for what single claims ask for: gradients used, clips, schedules, first updates, what was not finite.

Like `_record`, which holds them: no tensor, no module, no optimizer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientUse:
    """One gradient, as made of backward passes, that an optimizer step used; kept where a claim asks for it."""

    step: int  # number of the optimizer step
    call: int
    optimizer: int
    at: str | None = None
    parameters: tuple[str, ...] = ()
    count: int = 1  # backward passes inside it
    members: tuple[int, ...] = ()  # their numbers: the first, and the newest
    used_in: int | None = None  # an earlier optimizer step that has used a part of it
    wholly: bool = False  # nothing new has come since that step
    by_hand: bool = False  # the program put it together itself, with the old one inside
    whole: bool = True  # every gradient of this step is made of the same passes
    evaluations: int = 0  # of the closure, where the optimizer counts them


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipEvent:
    """One call of `clip_grad_norm_` or `clip_grad_value_` with watched parameters."""

    call: int
    order: int  # number of events of the watch before it
    at: str | None = None
    parameters: tuple[str, ...] = ()
    limit: float = math.inf
    shrank: bool = False
    waiting: int = 0  # gradients that no step had used yet
    used: int = 0  # gradients that a step had used already
    scale: float | None = None  # the loss scale that was still in the gradients
    unscaled_by_user: bool = False  # the program asked for the scale and took it into account


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleEvent:
    """One call of a learning rate scheduler's `step`."""

    call: int
    order: int
    name: str
    at: str | None = None
    optimizer: int | None = None
    unused_lr: float | None = None  # the lr that it replaced, if the optimizer has never stepped
    new_lr: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstUpdate:
    """The very first update that an optimizer without closure and without `maximize` has made."""

    optimizer: int
    step: int
    at: str | None = None
    cosine: float = 0.0  # of the angle between the update and the gradient; below 0 is downhill
    elements: int = 0
    parameters: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NonFinite:
    """Something that was NaN or infinite: a loss, gradients or weights."""

    what: str  # loss, gradient, weight
    call: int
    value: str = "NaN"
    parameters: tuple[str, ...] = ()
    by: str | None = None  # the operation or autograd node that made it from finite numbers
    made: str | None = None  # what that operation made: NaN may come later, of an infinity
    at: str | None = None
    module: str | None = None
    given: str | None = None  # the numbers that went in
    entered: bool = False  # no operation made it: it was there when the step began


@dataclass(frozen=True, slots=True, kw_only=True)
class UnscaledTwice:
    """Gradients that had lost the loss scale already when the scaler took it out of them."""

    call: int
    optimizer: int | None
    at: str | None
    scale: float
