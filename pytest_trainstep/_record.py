"""The words: what happened in a step, as plain numbers and strings.

Nothing in here holds a tensor, a module or an optimizer, so a record can outlive the test, travel
between processes (pickle) and be written to a report (JSON, both ways).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from ._events import ClipEvent, FirstUpdate, GradientUse, NonFinite, ScheduleEvent, UnscaledTwice

Record = TypeVar("Record")


@dataclass(frozen=True, slots=True, kw_only=True)
class Underflow:
    """What a float64 replay of the optimizer step says about a parameter that hardly moved."""

    lr: float
    smallest_lr: float | None  # the smallest lr, of those tried, at which most elements would move
    wanted: float  # median |update| of the replay, in the unit of the parameter
    spacing: float  # median distance between neighbouring numbers of the dtype at the parameter
    swallowed: float  # fraction of the elements with a gradient that rounding keeps in place


@dataclass(frozen=True, slots=True, kw_only=True)
class Occasion:
    """One optimizer step in which a parameter did not move as it should have."""

    step: int  # number of the optimizer step in the watch, from 1
    call: int  # number of the call of the user's step_fn, from 1
    optimizer: int  # index into `StepRecord.optimizers`
    gradient: str  # frozen, none, cleared, zeroed, scaled-to-zero, zero, non-finite, stale, mixed, manual, fresh
    grad_max: float | None  # largest |gradient|, None without gradient
    lr: float | None
    moved: bool
    skipped: bool = False  # a gradient scaler skipped the step
    closure: bool = False
    closure_ran_backward: bool = False
    backward_before: bool = False  # a backward pass ran earlier in the same call of step_fn
    momentum: bool = False  # the optimizer keeps a state for it


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What was gathered about one parameter, only because it did not move."""

    ran: bool | None = None  # its module, or the tensor itself, took part in the forward pass
    in_loss: bool | None = None  # the value of the loss depends on it
    cut_by: str | None = None  # the operation behind which the graph is lost
    cut_at: str | None = None
    cut_no_grad: bool = False
    flat_by: str | None = None  # an operation on its way whose derivative is zero everywhere
    flat_at: str | None = None
    cleared_by: str | None = None
    cleared_at: str | None = None
    computed_at: str | None = None  # new values were computed here and never written
    connected: bool = False  # the loss has a graph to it
    copy_of: str | None = None  # where a copy that was trained in its place lives
    functional: bool = False  # copies were differentiated by torch.func or torch.autograd.grad
    underflow: Underflow | None = None
    closure_helps: bool = False  # the replayed step writes when it is given a closure
    non_finite_loss: bool = False
    accumulating: str | None = None  # why an optimizer step is known to be due later
    moved_with_gradient: int | None = None  # of the elements that received a gradient
    with_gradient: int | None = None
    lost_loss_at: str | None = None  # a loss that depends on it was computed here and never used
    hook_zeroes: bool = False  # a hook registered on it turns a non-zero gradient into zeros
    hook_takes: bool = False  # a post-accumulate hook on it takes the gradient away
    hidden_in: str | None = None  # where an unregistered parameter was found
    cast: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterRecord:
    """The story of one parameter over the watched step(s).

    Attributes:
        name: As in `model.named_parameters()`, wrapper prefixes removed.
        aliases: Further names of the same tensor (tied weights) and the name with prefixes.
        trainable: `requires_grad` was true when watching started or at an optimizer step in it.
        registered: `named_parameters()` lists it; false for what was found elsewhere.
        buffer: It is a buffer, watched because the claim covers buffers.
        moved: Its value at the end differs from the value at the start.
        first_moved: Number of the `step_fn` call after or in which it was first seen to differ.
        max_change, rms_change: Of the difference between the end and the start, in its own unit.
        update_ratio: `rms_change` over the RMS of the weights at the start; None when that is 0.
        elements_changed: How many of its elements differ (of `numel`).
        sampled: The numbers come from a sample of the elements, for want of memory.
        replaced: The module holds another tensor object under this name at the end.
        restored: It moved and was put back.
        gradient: How its gradient stood at the last optimizer step that held it, else at the end.
        grad_max: Largest absolute value of the last gradient that was looked at.
        reached: How many backward passes left a gradient in it.
        in_graph: The graph of some backward pass led to it.
        held_by: Indices of the optimizers, that stepped or are known, that hold it.
        lr: The last learning rate used for it.
        gradient_moved: It moved in an optimizer step in which its gradient was not zero.
        outside_moved: It changed outside any observed optimizer step.
        flowed: A gradient that is not exactly zero has arrived; None where no claim asked for it.
    """

    name: str
    aliases: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    dtype: str = "float32"
    device: str = "cpu"
    numel: int = 0
    trainable: bool = True
    registered: bool = True
    buffer: bool = False
    moved: bool = False
    first_moved: int | None = None
    max_change: float = 0.0
    rms_change: float = 0.0
    update_ratio: float | None = None
    elements_changed: int = 0
    sampled: bool = False
    replaced: bool = False
    restored: bool = False
    finite: bool = True
    gradient: str = "none"
    grad_max: float | None = None
    reached: int = 0
    in_graph: bool = False
    held_by: tuple[int, ...] = ()
    lr: float | None = None
    weight_decay: float = 0.0
    gradient_moved: bool = False
    outside_moved: bool = False
    flowed: bool | None = None
    occasions: tuple[Occasion, ...] = ()
    evidence: Evidence = field(default_factory=Evidence)


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerRecord:
    """An optimizer that stepped, or that is known to hold watched parameters.

    `holds` counts all its tensors, `watched` those of the watched models, `orphans` those that no
    living module owns, `foreign` those of other modules (owner in `owner`).
    """

    name: str
    built_at: str | None = None
    stepped_at: str | None = None
    steps: int = 0
    skipped: int = 0
    holds: int = 0
    watched: int = 0
    watched_trainable: int = 0
    orphans: int = 0
    foreign: int = 0
    owner: str | None = None
    observed: bool = True
    why_unobserved: str | None = None
    lrs: tuple[float | None, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StepEvent:
    """One call of an optimizer's `step`, or one that a gradient scaler skipped.

    `gradients` maps how the gradients of the watched parameters stood to their names; parameters
    whose gradient was `fresh` are counted under that word, the others are named.
    """

    number: int
    call: int
    optimizer: int
    at: str | None
    lrs: tuple[float | None, ...]
    closure: bool = False
    skipped: bool = False
    fresh: int = 0
    gradients: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    backward: int = 0  # number of the last backward pass before it
    window: int = 0  # how many backward passes the newest gradient holds
    order: int = 0  # position among all events of the watch


@dataclass(frozen=True, slots=True, kw_only=True)
class BackwardEvent:
    """One backward pass: where it began and what it reached."""

    number: int
    call: int
    at: str | None
    roots: tuple[str, ...]
    depth: int = 0
    reached: int = 0  # watched parameters whose gradient it changed
    detached_root: bool = False  # the root is a leaf: no graph hangs on it
    in_step: int | None = None  # number of the optimizer step whose closure ran it
    order: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """Everything `watch` saw, in plain values.

    Example:
        >>> record = StepRecord(calls=1, parameters={"fc.weight": ParameterRecord(name="fc.weight")})
        >>> StepRecord.from_json(record.to_json()) == record
        True
    """

    calls: int = 1
    parameters: Mapping[str, ParameterRecord] = field(default_factory=dict)
    optimizers: tuple[OptimizerRecord, ...] = ()
    steps: tuple[StepEvent, ...] = ()
    backwards: tuple[BackwardEvent, ...] = ()
    step_count: int = 0
    backward_count: int = 0
    failed_backward: str | None = None  # the error of a backward pass that reached nothing
    losses: tuple[float, ...] = ()
    uses: tuple[GradientUse, ...] = ()
    clips: tuple[ClipEvent, ...] = ()
    schedules: tuple[ScheduleEvent, ...] = ()
    first_updates: tuple[FirstUpdate, ...] = ()
    unscaled_twice: tuple[UnscaledTwice, ...] = ()
    non_finite: tuple[NonFinite, ...] = ()
    followed: tuple[str, ...] = ()  # what was looked at because a claim asked for it
    reran: bool = False
    rerun_note: str | None = None
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        """Return the record as JSON-ready dictionaries and lists (no NaN: strings in their place)."""
        plain: dict[str, object] = _plain(dataclasses.asdict(self))  # type: ignore[assignment]
        return plain

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> StepRecord:
        """Rebuild a record from what `to_json` returned."""
        nested: dict[str, object] = dict(data)
        parameters: Mapping[str, Mapping[str, object]] = data["parameters"]  # type: ignore[assignment]
        nested["parameters"] = {name: _parameter(row) for name, row in parameters.items()}
        for key, kind in _EVENT_KINDS.items():
            rows: list[Mapping[str, object]] = data[key]  # type: ignore[assignment]
            nested[key] = tuple(_rebuild(kind, row) for row in rows)
        return _rebuild(cls, nested)


_EVENT_KINDS: dict[str, type] = {
    "optimizers": OptimizerRecord,
    "steps": StepEvent,
    "backwards": BackwardEvent,
    "uses": GradientUse,
    "clips": ClipEvent,
    "schedules": ScheduleEvent,
    "first_updates": FirstUpdate,
    "unscaled_twice": UnscaledTwice,
    "non_finite": NonFinite,
}


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _parameter(row: Mapping[str, object]) -> ParameterRecord:
    evidence: dict[str, object] = dict(row["evidence"])  # type: ignore[call-overload]
    if evidence["underflow"] is not None:
        evidence["underflow"] = _rebuild(Underflow, evidence["underflow"])  # type: ignore[arg-type]
    occasions: list[Mapping[str, object]] = row["occasions"]  # type: ignore[assignment]
    rebuilt = tuple(_rebuild(Occasion, one) for one in occasions)
    return _rebuild(ParameterRecord, {**row, "evidence": _rebuild(Evidence, evidence), "occasions": rebuilt})


def _rebuild(kind: type[Record], row: Mapping[str, object]) -> Record:
    """Undo `_plain` for one class: lists become tuples again, "nan" a float where one is due."""
    known = {item.name: str(item.type) for item in dataclasses.fields(kind)}  # type: ignore[arg-type]
    values = {name: _revive(row[name], known[name]) for name in known if name in row}
    return kind(**values)


def _revive(value: object, annotation: str) -> object:
    if isinstance(value, list):
        return tuple(_revive(item, annotation) for item in value)
    if isinstance(value, dict) and "tuple" in annotation:
        return {key: tuple(item) for key, item in value.items()}
    if value in ("nan", "inf", "-inf") and "float" in annotation:
        return float(str(value))
    return value
