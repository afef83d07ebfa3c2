"""The finding: claim, evidence, causes, fix, on-purpose line. A value; the message is that value printed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pytest_trainstep._record import ParameterRecord, StepRecord

from .because import Because, number
from .patterns import compress
from .rules import explain

_ROWS = 6
_SPELLED_OUT = 3
_WIDTH = 46


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One cause, the parameters it answers for, and what to do."""

    cause: str
    because: str
    fix: str
    parameters: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Why a claim about a step does not hold.

    Attributes:
        claim: What does not hold, with its numbers.
        causes: The causes, those with most parameters first.
        parameters: Each failed parameter and its cause.
        reasons: One sentence from recorded facts and one fix for each cause.
        columns, rows: The table of evidence, worst first.
        on_purpose: The exact argument that says "this is meant to be so".
        notes: Further facts (a second run to look closer, a sample in place of all elements).
        msg: The user's own text.
        record: Everything that was recorded.
    """

    claim: str
    causes: tuple[str, ...]
    parameters: Mapping[str, str] = field(default_factory=dict)
    reasons: tuple[Reason, ...] = ()
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    on_purpose: str = ""
    notes: tuple[str, ...] = ()
    msg: str | None = None
    record: StepRecord | None = None

    def __str__(self) -> str:
        lines = [f"{', '.join(self.causes[:_SPELLED_OUT])}: {self.claim}"]
        if self.rows:
            lines += ["", *self._table(), ""]
        spelled = self.reasons[:_SPELLED_OUT]
        for reason in spelled:
            tag = f"{reason.cause}: " if len(self.reasons) > 1 else ""
            lines += [f"because: {tag}{reason.because}", f"fix: {reason.fix}"]
        if len(self.reasons) > _SPELLED_OUT:
            rest = ", ".join(reason.cause for reason in self.reasons[_SPELLED_OUT:])
            lines.append(f"... and {len(self.reasons) - _SPELLED_OUT} more causes: {rest}")
        if self.on_purpose:
            lines.append(f"on purpose? {self.on_purpose}")
        if self.notes:
            lines.append(f"note: {'; '.join(self.notes)}")
        if self.msg:
            lines.append(self.msg)
        return "\n".join(_ascii(line) for line in lines)

    def _table(self) -> list[str]:
        count = _ROWS - 1 if self.notes and len(self.rows) > _ROWS else _ROWS  # a message has 14 lines
        shown = [self.columns, *self.rows[:count]]
        widths = [max(len(_cell(row[i])) for row in shown) for i in range(len(self.columns))]
        table = [
            "  " + "  ".join(_cell(cell).ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in shown
        ]
        if len(self.rows) > count:
            table.append(f"  ... and {len(self.rows) - count} more")
        return table


def _cell(text: str) -> str:
    return text if len(text) <= _WIDTH else f"...{text[3 - _WIDTH :]}"


def _ascii(line: str) -> str:
    return line.encode("ascii", "backslashreplace").decode()


def reasons_for(
    failed: Sequence[ParameterRecord], record: StepRecord, overriding: Mapping[str, tuple[str, Because]] | None = None
) -> tuple[Reason, ...]:
    """Ask the rules about every failed parameter and put equal answers together, most parameters first."""
    grouped: dict[str, tuple[Because, list[str]]] = {}
    for parameter in failed:
        cause, because = (overriding or {}).get(parameter.name) or explain(parameter, record)
        grouped.setdefault(cause, (because, []))[1].append(parameter.name)
    ordered = sorted(grouped.items(), key=lambda item: -len(item[1][1]))
    return tuple(
        Reason(cause=cause, because=because.text, fix=because.fix, parameters=tuple(names))
        for cause, (because, names) in ordered
    )


def evidence_rows(failed: Iterable[ParameterRecord], record: StepRecord) -> tuple[tuple[str, ...], ...]:
    """Make the rows of the table: parameter, shape, change, |grad|, lr, in optimizer."""
    return tuple(
        (
            one.name,
            str(one.shape).replace(" ", "") if len(one.shape) != 1 else f"({one.shape[0]},)",
            _change(one),
            "-" if one.grad_max is None else number(one.grad_max),
            "-" if one.lr is None else number(one.lr),
            _holder(one, record),
        )
        for one in failed
    )


COLUMNS = ("parameter", "shape", "change", "|grad|", "lr", "in optimizer")


def _change(one: ParameterRecord) -> str:
    if not one.moved:
        return "put back" if one.restored else "0"
    about = "about " if one.sampled else ""
    return f"{number(one.max_change)} ({about}{one.elements_changed} of {one.numel} moved)"


def _holder(one: ParameterRecord, record: StepRecord) -> str:
    names = [record.optimizers[index].name for index in one.held_by]
    return " and ".join(dict.fromkeys(names)) or "no"


def finding_for(
    claim: str,
    failed: Sequence[ParameterRecord],
    record: StepRecord,
    *,
    argument: str,
    msg: str | None,
    overriding: Mapping[str, tuple[str, Because]] | None = None,
) -> Finding:
    """Put a finding together for parameters that failed a claim."""
    reasons = reasons_for(failed, record, overriding)
    order = {name: place for place, reason in enumerate(reasons) for name in reason.parameters}
    failed = sorted(failed, key=lambda one: order[one.name])
    names = tuple(one.name for one in failed)
    return Finding(
        claim=claim,
        causes=tuple(reason.cause for reason in reasons),
        parameters={name: reason.cause for reason in reasons for name in reason.parameters},
        reasons=reasons,
        columns=COLUMNS,
        rows=evidence_rows(failed, record),
        on_purpose=f"pass {argument}={compress(names, record.parameters)}",
        notes=notes_of(record, failed),
        msg=msg,
        record=record,
    )


def notes_of(record: StepRecord, failed: Sequence[ParameterRecord]) -> tuple[str, ...]:
    """Say what the reader must know about how this was found out."""
    notes = [*record.notes[:2]]
    if record.reran:
        notes.append("the step was run once more to look closer, and everything was put back")
    if record.rerun_note:
        notes.append(record.rerun_note)
    if any(one.sampled for one in failed):
        notes.append("counts come from a sample of the elements")
    return tuple(notes)
