"""The words of the audit: what the optimizers did in one test, as plain numbers and strings. JSON both ways."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True, kw_only=True)
class Group:
    """One parameter group of an optimizer, over all its steps in a test.

    Attributes:
        tensors, elements: How many it holds.
        frozen: How many of its tensors did not require a gradient, at the last step that was looked at.
        updated: One of its elements moved in a step; None when no step could be looked at.
        lr: Smallest and largest learning rate at its steps; None where it has none.
        stands: How the gradients of its tensors stood at the no-op steps that were looked at, counted:
            none, hooked (none, and a hook runs when one arrives), cleared, zero, scaled-to-zero, non-finite, frozen,
            usable.
        wrote: What a float64 replay says about a no-op step with usable gradients:
            underflow, would-move, writes-nothing, unknown, or empty.
        orphans: Tensors that never had a gradient and that nothing but the optimizer holds.
        twin: The class of another model with gradients for parameters of the same shapes; else empty.
        stuck: Names of some of the tensors.
    """

    tensors: int = 0
    elements: int = 0
    frozen: int = 0
    updated: bool | None = False
    lr: tuple[float, float] | None = None
    lr_zero: int = 0
    stands: dict[str, int] = field(default_factory=dict)
    wrote: str = ""
    smallest_lr: float | None = None
    dtype: str = "float32"
    closure_helps: bool = False
    grad_max: float | None = None
    orphans: int = 0
    twin: str = ""
    stuck: tuple[str, ...] = ()


@dataclass(slots=True, kw_only=True)
class Curve:
    """One parameter in the picture: its update ratio (None: it did not move) and gradient at a few steps."""

    name: str
    shape: tuple[int, ...] = ()
    points: list[tuple[int, float | None, float | None]] = field(default_factory=list)
    """Number of the step, update/weight ratio, RMS of the gradient."""


@dataclass(slots=True, kw_only=True)
class Heard:
    """One optimizer, or several that were built at one line and fared alike, in one test.

    Attributes:
        objects: How many optimizers this stands for; the numbers are sums over them, the groups are the worst one's.
        steps, noop_steps: Calls of `step`, and those in which no element of it moved.
        skipped: Steps that a gradient scaler left out.
        reused: Steps that used a gradient which an earlier step had used up.
        leftover: Steps whose gradient held an earlier step's gradient and a new one.
        non_finite: A weight was NaN or infinite after a step.
        orphans: The sum of those of its groups; once something has moved, only tensors that a model had count.
        clockwork: All it holds is one number of that kind, which no model had: it only drives a schedule.
        backward_before, backward_after: Backward passes in this test before its first step, and after it.
        built_here: It was built in this test.
        reached: Its tensors received gradients in this test, and no other optimizer that stepped holds them.
        differentiated: `torch.autograd.grad` or `torch.func.grad` was asked for gradients of its tensors.
        closure, closure_backward: It was given a closure; the closure ran a backward pass.
        unobserved: Why its steps cannot be heard, if they cannot.
    """

    name: str
    built_at: str | None = None
    stepped_at: str | None = None
    objects: int = 1
    steps: int = 0
    noop_steps: int = 0
    skipped: int = 0
    reused: int = 0
    leftover: int = 0
    non_finite: bool = False
    orphans: int = 0
    clockwork: bool = False
    tensors: int = 0
    backward_before: int = 0
    backward_after: int = 0
    built_here: bool = False
    reached: bool = False
    differentiated: bool = False
    closure: bool = False
    closure_backward: bool = False
    unobserved: str | None = None
    groups: list[Group] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)

    @property
    def never(self) -> bool:
        """It was stepped, and no group of it ever moved."""
        groups = [group for group in self.groups if group.elements]
        stepped = (self.steps > 0 or self.skipped > 0) and not self.clockwork
        return stepped and bool(groups) and all(one.updated is False for one in groups)

    @property
    def quiet(self) -> bool:
        """Nothing was heard of it that anybody would have to judge."""
        odd = self.reused or self.leftover or self.non_finite or self.orphans or self.reached
        return not odd and all(group.updated is not False for group in self.groups)


@dataclass(slots=True, kw_only=True)
class Subject:
    """A test, or a fixture of a wider scope, and the optimizers that were heard in it."""

    id: str
    kind: str = "test"  # test, fixture
    at: str = ""  # file:line
    outcome: str = ""  # passed, failed, skipped, error
    attempts: int = 1
    backwards: int = 0
    losses: list[tuple[int, float]] = field(default_factory=list)
    optimizers: list[Heard] = field(default_factory=list)
    drawn: bool = False  # it ran once for each example that Hypothesis drew
    excuse: str | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def steps(self) -> int:
        """Return the number of optimizer steps."""
        return sum(one.steps for one in self.optimizers)

    @property
    def quiet(self) -> bool:
        """Nothing was heard in it that anybody would have to judge."""
        return all(one.quiet for one in self.optimizers)

    def to_json(self) -> dict[str, Any]:
        """Return plain dictionaries and lists, without NaN."""
        plain: dict[str, Any] = _plain(dataclasses.asdict(self))
        return plain

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Subject:
        """Rebuild what `to_json` returned."""
        optimizers = [_heard(row) for row in data.get("optimizers", ())]
        losses = [(number, float(value)) for number, value in data.get("losses", ())]
        return cls(**{**data, "optimizers": optimizers, "losses": losses})

    def dumps(self) -> str:
        """Return one line of JSON, for `loads` only: what is as it usually is, is left out."""
        return _written(_lean(self))

    @classmethod
    def loads(cls, line: str) -> Subject:
        """Undo `dumps`."""
        return cls.from_json(json.loads(line))


def _heard(row: Mapping[str, Any]) -> Heard:
    groups = [
        Group(**{**one, "lr": _pair(one.get("lr")), "stuck": tuple(one.get("stuck", ()))})
        for one in row.get("groups", ())
    ]
    curves = [
        Curve(
            name=one["name"],
            shape=tuple(one.get("shape", ())),
            points=[(step, _number(ratio), _number(grad)) for step, ratio, grad in one.get("points", ())],
        )
        for one in row.get("curves", ())
    ]
    return Heard(**{**row, "groups": groups, "curves": curves})


def _pair(value: Sequence[float | str] | None) -> tuple[float, float] | None:
    return None if value is None else (float(value[0]), float(value[1]))


@functools.cache
def _usual(kind: type) -> tuple[Callable[[object], tuple[object, ...]], tuple[tuple[str, object], ...]]:
    """Return what reads all fields of a class at once, and what each is when nothing was said."""
    fields = dataclasses.fields(kind)
    usual = tuple(
        (one.name, one.default_factory() if one.default_factory is not dataclasses.MISSING else one.default)
        for one in fields
    )
    return operator.attrgetter(*(one.name for one in fields)), usual


def _lean(thing: Subject | Heard | Group | Curve) -> dict[str, Any]:
    kind: type = type(thing)
    read, usual = _usual(kind)
    found: dict[str, Any] = {
        name: mine for (name, other), mine in zip(usual, read(thing), strict=True) if mine != other
    }
    for name in _NESTED & found.keys():
        found[name] = list(map(_lean, found[name]))
    return found


_NESTED = frozenset({"optimizers", "groups", "curves"})
_written = json.JSONEncoder(separators=(",", ":")).encode


def _number(value: float | str | None) -> float | None:
    return None if value is None else float(value)


def _plain(value: Any) -> Any:  # noqa: ANN401 (it passes through)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
