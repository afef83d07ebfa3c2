"""Judging a record: does a claim about gradients, numbers or order hold; if not, the finding."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pytest_trainstep import _settings
from pytest_trainstep._diagnose import Finding, finite, flow, freshness, order, patterns
from pytest_trainstep._diagnose.because import Because, plural
from pytest_trainstep._diagnose.finding import Reason, notes_of
from pytest_trainstep._errors import TrainStepUsageError
from pytest_trainstep._events import NonFinite
from pytest_trainstep._record import ParameterRecord, StepRecord

from . import judging

Answer = tuple[str, Because, Sequence[str]]


def not_flowing(
    record: StepRecord, *, only: Sequence[str] | None, unused: Sequence[str]
) -> tuple[list[ParameterRecord], int]:
    """Return the parameters that no gradient reaches, and how many were judged.

    Raises:
        TrainStepUsageError: A pattern fits nothing; there is nothing to judge.
    """
    settings = _settings.current()
    only = settings.only if only is None else tuple(only)
    rows = [row for row in record.parameters.values() if not row.buffer]
    judging.check_patterns(rows, only=only or (), unused=unused)
    excused = (*unused, *settings.frozen, *settings.ini_frozen)
    covered = [row for row in rows if row.registered and row.numel and not patterns.matches(row, excused)]
    judged = [row for row in covered if (row.trainable if only is None else patterns.matches(row, only))]
    if only is None and not any(row.trainable for row in rows):
        judged = covered  # nothing is trainable, and nobody said that this is meant to be so
    if not rows:
        msg = "there is nothing to judge: the model has no parameters of any kind"
        raise TrainStepUsageError(msg)
    return [row for row in judged if not flow.flows(row)], len(judged)


def gradients_flow(
    failed: Sequence[ParameterRecord], judged: int, record: StepRecord, *, msg: str | None = None
) -> Finding | None:
    """Return the finding for parameters that no gradient reaches."""
    if not failed:
        return None
    causes = {row.name: flow.explain(row, record) for row in failed}
    reasons = _gathered((cause, because, (name,)) for name, (cause, because) in causes.items())
    kind = "trainable parameters" if all(row.trainable for row in failed) else "parameters"
    zeros = sum(row.reached > 0 for row in failed)
    what = {0: "no gradient", len(failed): "only zeros as gradient"}.get(zeros, "no gradient, or only zeros")
    rows = sorted(failed, key=lambda row: [reason.cause for reason in reasons].index(causes[row.name][0]))
    return Finding(
        claim=f"{len(failed)} of {judged} {kind} received {what} in {plural(record.calls, 'step')}",
        causes=tuple(reason.cause for reason in reasons),
        parameters={row.name: causes[row.name][0] for row in rows},
        reasons=reasons,
        columns=("parameter", "shape", "backward passes that reached it", "gradient"),
        rows=tuple((row.name, _shape(row), str(row.reached), "exactly 0" if row.reached else "none") for row in rows),
        on_purpose=f"pass unused={patterns.compress([row.name for row in rows], record.parameters)}",
        notes=notes_of(record, rows),
        msg=msg,
        record=record,
    )


def gradients_fresh(
    record: StepRecord,
    *,
    kept: Sequence[str] = (),
    varying: bool = False,
    reused: bool | None = None,
    msg: str | None = None,
) -> Finding | None:
    """Return the finding for steps that used old gradients; `reused` asks for (or leaves out) repeated use only."""
    rows = list(record.parameters.values())
    judging.check_patterns(rows, kept=kept)
    excused = {row.name for row in rows if patterns.matches(row, kept)}
    leaks = [
        leak
        for leak in freshness.leaks(record, varying=varying)
        if not excused.issuperset(leak.use.parameters)
        and (reused is None or reused == (leak.cause == freshness.REUSED))
    ]
    if not leaks:
        return None
    names = [[name for name in leak.use.parameters if name not in excused] for leak in leaks]
    reasons = _gathered((leak.cause, leak.because, mine) for leak, mine in zip(leaks, names, strict=True))
    table: dict[str, tuple[str, ...]] = {}
    for leak, mine in zip(leaks, names, strict=True):
        used = "-" if leak.use.used_in is None else str(leak.use.used_in)
        for name in mine:
            table.setdefault(name, (name, str(leak.use.step), str(leak.use.count), used))
    windows = "varying_windows=True" if {reason.cause for reason in reasons} == {"window-leaked"} else None
    steps = len({leak.use.step for leak in leaks})
    return Finding(
        claim=f"{steps} of {plural(record.step_count, 'optimizer step')} used gradients left over from before",
        causes=tuple(reason.cause for reason in reasons),
        parameters={name: reason.cause for reason in reversed(reasons) for name in reason.parameters},
        reasons=reasons,
        columns=("parameter", "in step", "backward passes inside", "used already in step"),
        rows=tuple(table.values()),
        on_purpose=f"pass {windows or 'kept=' + patterns.compress(list(table), record.parameters)}",
        notes=notes_of(record, ()),
        msg=msg,
        record=record,
    )


def step_finite(record: StepRecord, *, gradients: bool = True, msg: str | None = None) -> Finding | None:
    """Return the finding for the first thing that was not finite."""
    events = [event for event in finite.first(record) if gradients or event.what != "gradient"]
    if not events:
        return None
    cause, because = finite.explain(events[0], record)
    names = tuple(dict.fromkeys(name for event in events for name in event.parameters))
    first = events[0]
    what = {"loss": "the loss was", "gradient": "gradients were", "weight": "weights were"}[first.what]
    return Finding(
        claim=f"{what} {first.value} in call {first.call} of {record.calls}",
        causes=(cause,),
        parameters=dict.fromkeys(names, cause),
        reasons=(Reason(cause=cause, because=because.text, fix=because.fix, parameters=names),),
        columns=("not finite", "call", "value"),
        rows=tuple(row for event in events for row in _rows(event)),
        on_purpose=_FINITE_ON_PURPOSE["gradient" if first.what == "gradient" else "other"],
        notes=notes_of(record, ()),
        msg=msg,
        record=record,
    )


_FINITE_ON_PURPOSE = {
    "gradient": "pass gradients=False if the program deals with such gradients itself",
    "other": "mark the test xfail(raises=StepNotFinite): no argument excuses this",
}


def slips(found: Sequence[order.Slip], claim: str, record: StepRecord) -> Finding | None:
    """Return the finding for things that came in the wrong order, or went the wrong way."""
    if not found:
        return None
    reasons = _gathered((slip.cause, slip.because, slip.parameters) for slip in found)
    return Finding(
        claim=f"{claim} in {plural(record.calls, 'step')}",
        causes=tuple(reason.cause for reason in reasons),
        parameters={name: reason.cause for reason in reversed(reasons) for name in reason.parameters},
        reasons=reasons,
        record=record,
    )


def _rows(event: NonFinite) -> list[tuple[str, ...]]:
    if event.what == "loss":
        return [("loss", str(event.call), event.value)]
    return [(f"{event.what} of {name}", str(event.call), event.value) for name in event.parameters]


def _shape(row: ParameterRecord) -> str:
    return str(row.shape).replace(" ", "") if len(row.shape) != 1 else f"({row.shape[0]},)"


def _gathered(answers: Iterable[Answer]) -> tuple[Reason, ...]:
    """Put equal causes together, those with most parameters first; the first sentence speaks for all."""
    grouped: dict[str, tuple[Because, dict[str, None]]] = {}
    for cause, because, names in answers:
        grouped.setdefault(cause, (because, {}))[1].update(dict.fromkeys(names))
    ordered = sorted(grouped.items(), key=lambda item: -len(item[1][1]))
    return tuple(
        Reason(cause=cause, because=because.text, fix=because.fix, parameters=tuple(names))
        for cause, (because, names) in ordered
    )
