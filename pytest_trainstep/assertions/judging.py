"""Which parameters fail a claim about weights; why they fail is asked elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_trainstep import _settings
from pytest_trainstep._diagnose import finding as findings
from pytest_trainstep._diagnose import patterns
from pytest_trainstep._diagnose.because import ZEROS, Because, plural
from pytest_trainstep._errors import TrainStepUsageError, WeightsNotFrozen, WeightsNotUpdated
from pytest_trainstep._record import ParameterRecord, StepRecord

HARDLY = 0.01  # of the elements that received a gradient


def weights_update(
    record: StepRecord,
    *,
    only: Sequence[str] | None,
    frozen: Sequence[str],
    min_update: float | None,
    msg: str | None,
) -> StepRecord:
    """Raise `WeightsNotUpdated` unless every judged parameter moved, by its gradient where it has one."""
    __tracebackhide__ = True
    failed, judged = failing(record, only=only, frozen=frozen, min_update=min_update)
    if not failed:
        return record
    raise WeightsNotUpdated(
        findings.finding_for(_claim(failed, judged, record), failed, record, argument="frozen", msg=msg)
    )


def failing(
    record: StepRecord,
    *,
    only: Sequence[str] | None,
    frozen: Sequence[str],
    min_update: float | None,
) -> tuple[list[ParameterRecord], list[ParameterRecord]]:
    """Return the parameters that fail the claim, and all that were judged.

    Raises:
        TrainStepUsageError: A pattern fits nothing; there is no parameter at all.
    """
    settings = _settings.current()
    _refuse_strings(only=only, frozen=frozen)
    only = settings.only if only is None else tuple(only)
    frozen = (*frozen, *settings.frozen)
    ratio = min_update if min_update is not None else settings.min_update or 0.0
    rows = [row for row in record.parameters.values() if not row.buffer]
    if not rows:
        msg = "there is nothing to judge: the model has no parameters of any kind"
        raise TrainStepUsageError(msg)
    check_patterns(rows, only=only or (), frozen=frozen)
    excused = (*frozen, *settings.ini_frozen)
    judged = [row for row in rows if _covered(row, only) and not patterns.matches(row, excused)]
    judged = judged or _nothing_trainable(rows, record, only, excused)
    _refuse_without_values(judged)
    failed = [row for row in judged if _failed(row, ratio)]
    return failed + _idle_groups(rows, record, excused, failed), judged


def check_patterns(rows: Sequence[ParameterRecord], **given: Sequence[str]) -> None:
    """Refuse patterns that fit nothing: they are misspelt, or excuse what is no longer there.

    Raises:
        TrainStepUsageError: With the nearest names.
    """
    _refuse_strings(**given)
    names = [row.name for row in rows]
    for argument, wanted in given.items():
        for pattern in patterns.unmatched(wanted, rows):
            near = ", ".join(patterns.nearest(pattern, names))
            msg = f"{argument}={pattern!r} matches no parameter; nearest: {near}"
            raise TrainStepUsageError(msg)


def _refuse_strings(**given: Sequence[str] | None) -> None:
    for argument, wanted in given.items():
        if isinstance(wanted, str):
            msg = f"{argument} must be a list of patterns, not the string {wanted!r}: write [{wanted!r}]"
            raise TrainStepUsageError(msg)


def _refuse_without_values(judged: Sequence[ParameterRecord]) -> None:
    names = [row.name for row in judged if row.device == "meta"]
    if names:
        msg = (
            f"{plural(len(names), 'parameter')} on the meta device (first: {names[0]}) have no values, so nothing can be"
            " seen to change: materialise the model (to_empty, then initialise) before the step"
        )
        raise TrainStepUsageError(msg)


def _covered(row: ParameterRecord, only: Sequence[str] | None) -> bool:
    if row.numel == 0 and row.registered and row.shape:
        return False  # nothing in it can change
    if only is not None:
        return patterns.matches(row, only)
    return row.trainable


def _nothing_trainable(
    rows: Sequence[ParameterRecord], record: StepRecord, only: Sequence[str] | None, excused: Sequence[str]
) -> list[ParameterRecord]:
    """A model of which nothing is trainable, and nobody said that this is meant to be so."""
    if only is not None or any(row.trainable for row in rows):
        return []
    return [row for row in rows if not patterns.matches(row, excused) and row.numel]


def _idle_groups(
    rows: Sequence[ParameterRecord],
    record: StepRecord,
    excused: Sequence[str],
    failed: Sequence[ParameterRecord],
) -> list[ParameterRecord]:
    """The parameters of an optimizer that stepped and holds nothing trainable of the watched models."""
    idle = {
        index for index, one in enumerate(record.optimizers) if one.steps and one.watched and not one.watched_trainable
    }
    known = {row.name for row in failed}
    found = [row for row in rows if idle.intersection(row.held_by) and row.name not in known]
    still = [row for row in found if not row.moved and not patterns.matches(row, excused)]
    return still if len(still) == len(found) else []


def _failed(row: ParameterRecord, min_update: float) -> bool:
    if not row.registered or not row.moved:
        return True
    if moved_without_gradient(row) or hardly_moved(row):
        return True
    # weights that were all 0 have no ratio: any update of them is large enough
    return bool(min_update) and row.update_ratio is not None and row.update_ratio < min_update


def moved_without_gradient(row: ParameterRecord) -> bool:
    """Tell whether it moved only in optimizer steps in which its gradient was exactly zero."""
    if row.gradient_moved or row.outside_moved:
        return False
    return any(one.moved and one.gradient in ZEROS for one in row.occasions)


def hardly_moved(row: ParameterRecord) -> bool:
    """Tell whether rounding, by a float64 replay, kept nearly all elements with a gradient in place."""
    evidence = row.evidence
    if row.gradient_moved or row.outside_moved or evidence.underflow is None:
        return False
    return row.elements_changed < HARDLY * (evidence.with_gradient or 0)


def _claim(failed: Sequence[ParameterRecord], judged: Sequence[ParameterRecord], record: StepRecord) -> str:
    calls = plural(record.calls, "step")
    hidden = [row for row in failed if not row.registered]
    if hidden and len(hidden) == len(failed):
        return f"{plural(len(hidden), 'parameter')} outside model.parameters() did not change in {calls}"
    if all(not row.trainable for row in failed):
        return f"{len(failed)} of {plural(len(record.parameters), 'parameter')} cannot change ({calls})"
    by = ""
    if all(row.moved for row in failed):
        by = " (no gradient moved them)" if any(map(moved_without_gradient, failed)) else " (as they should)"
    total = len({row.name for row in (*judged, *failed)})
    return f"{len(failed)} of {total} trainable parameters did not change in {calls}{by}"


def weights_frozen(record: StepRecord, *, only: Sequence[str] | None, buffers: bool, msg: str | None) -> StepRecord:
    """Raise `WeightsNotFrozen` if a judged parameter moved."""
    __tracebackhide__ = True
    settings = _settings.current()
    _refuse_strings(only=only)
    only = settings.only if only is None else tuple(only)
    rows = [row for row in record.parameters.values() if row.registered]
    check_patterns(rows, only=only or ())
    if buffers and not any(row.buffer for row in rows):
        text = "no buffers were watched: the model has none, or `watch` was not called with buffers=True"
        raise TrainStepUsageError(text)
    kind = rows if buffers else [row for row in rows if not row.buffer]
    judged = [row for row in kind if (not row.trainable if only is None else patterns.matches(row, only))]
    if not judged:
        text = "nothing to judge: no parameter has requires_grad=False; name what must stand still with only=[...]"
        raise TrainStepUsageError(text)
    failed = [row for row in judged if row.moved or row.restored]
    if not failed:
        return record
    claim = f"{len(failed)} of {plural(len(judged), 'frozen parameter')} changed in {plural(record.calls, 'step')}"
    overriding = {row.name: _why_moved(row, record) for row in failed}
    raise WeightsNotFrozen(findings.finding_for(claim, failed, record, argument="only", msg=msg, overriding=overriding))


def _why_moved(row: ParameterRecord, record: StepRecord) -> tuple[str, Because]:
    if row.buffer:
        return "buffer-updated", Because(
            "a buffer was written during the step (running statistics of a norm layer in train mode, an EMA).",
            "put the frozen part into eval() before the step.",
        )
    holders = [record.optimizers[index] for index in row.held_by if record.optimizers[index].steps]
    if not holders:
        return "written-outside-optimizer", Because(
            "they changed although no optimizer that stepped holds them: something wrote them directly.",
            "look for .data writes, copy_, load_state_dict, or an averaged copy.",
        )
    name = holders[0].name
    where = f" at {holders[0].stepped_at}" if holders[0].stepped_at else ""
    if not row.trainable and row.weight_decay:
        return "decay-on-frozen", Because(
            f"{name}{where} holds them, and weight decay or a left-over gradient moved them although requires_grad is False.",
            "give the optimizer only the parameters with requires_grad.",
        )
    return "frozen-in-optimizer", Because(
        f"{name}{where} holds them and its step changed them.",
        "leave them out of the optimizer, and set requires_grad_(False) before the step.",
    )
