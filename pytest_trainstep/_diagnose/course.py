"""The loss over the steps of a claim, in plain values, and the finding about it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pytest_trainstep._record import ParameterRecord, StepRecord

from .because import Because, number
from .finding import Finding, Reason, notes_of
from .sparkline import sparkline


@dataclass(frozen=True, slots=True, kw_only=True)
class LossCall:
    """One call of a loss function, in plain values: see `_watch.losses`."""

    name: str
    at: str | None = None
    regression: bool = False
    broadcast: bool = False  # the result has more elements than either
    prediction_shape: tuple[int, ...] = ()
    target_shape: tuple[int, ...] = ()
    activation: str | None = None
    probabilities: bool = False
    same_rows: bool = False
    spread: float = 0.0
    predicted: tuple[float, float] = (0.0, 0.0)
    wanted: tuple[float, float] = (0.0, 0.0)
    classes: int | None = None
    chance: float | None = None  # the smallest loss of a constant prediction
    value: float | None = None

    @property
    def shapes(self) -> str:
        """Both shapes, as a person writes them."""
        return f"predictions {_shape(self.prediction_shape)} and targets {_shape(self.target_shape)}"


def _shape(shape: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """The loss over the steps, and what was seen beside it.

    Attributes:
        losses: The measured values in their order.
        roots: What backward started from in each step, where it did.
        lrs: The highest learning rate of each step, where an optimizer ran.
        end: The value that was judged.
        calm: The loss with dropout off, where only that is low enough.
        maximizes: An optimizer was built with maximize=True.
        alike: Weights of which all units are the same.
        calls: The calls of loss functions in one more run.
        record: What the watch saw.
        failed: The parameters that did not update.
    """

    losses: tuple[float, ...]
    roots: tuple[float | None, ...] = ()
    lrs: tuple[float | None, ...] = ()
    end: float = math.nan
    calm: float | None = None
    expected: float | None = None
    rtol: float = 0.0
    maximizes: bool = False
    alike: tuple[str, ...] = ()
    calls: tuple[LossCall, ...] = ()
    record: StepRecord | None = None
    failed: tuple[ParameterRecord, ...] = ()


Rule = Callable[[Course], Because | None]


def first_reason(course: Course, rules: Sequence[Rule]) -> Reason | None:
    """Return the answer of the first rule that has one."""
    for rule in rules:
        because = rule(course)
        if because is not None:
            return Reason(cause=rule.__name__.replace("_", "-"), because=because.text, fix=because.fix)
    return None


def unexplained(course: Course) -> Reason:
    """Print the facts where no rule answers."""
    record = course.record
    facts = [f"the loss went from {number(course.losses[0])} to {number(course.end)}"] if course.losses else []
    if record is not None:
        still = len(course.failed)
        facts.append(f"{record.step_count} optimizer steps, {record.backward_count} backward passes")
        facts.append(f"{len(record.parameters) - still} of {len(record.parameters)} parameters were updated")
    rates = [rate for rate in course.lrs if rate is not None]
    if rates:
        facts.append(f"lr {number(min(rates))} to {number(max(rates))}")
    facts += [
        f"`{call.name}` got {call.shapes}, predictions from {number(call.predicted[0])} to {number(call.predicted[1])}"
        for call in course.calls[-1:]
    ]
    return Reason(
        cause="unexplained",
        because=f"none of the known causes fits. Facts: {'; '.join(facts)}.",
        fix="look at the data (do inputs and targets belong together?), the learning rate and the size of the model.",
    )


def finding(
    claim: str, course: Course, reasons: Sequence[Reason], *, limit: tuple[str, str], on_purpose: str, msg: str | None
) -> Finding:
    """Put the finding together; `limit` is the heading and the number that was to be reached."""
    losses = course.losses
    finite = [value for value in losses if math.isfinite(value)]
    row = (
        sparkline(losses),
        _value(losses[0]) if losses else "-",
        _value(min(finite)) if finite else "-",
        _value(course.end),
        limit[1],
    )
    return Finding(
        claim=claim,
        causes=tuple(reason.cause for reason in reasons),
        parameters={name: reason.cause for reason in reasons for name in reason.parameters},
        reasons=tuple(reasons),
        columns=("loss", "first", "lowest", "end", limit[0]),
        rows=(row,),
        on_purpose=on_purpose,
        notes=notes_of(course.record, ()) if course.record is not None else (),
        msg=msg,
        record=course.record,
    )


def _value(value: float) -> str:
    return number(value) if math.isfinite(value) else str(value)
