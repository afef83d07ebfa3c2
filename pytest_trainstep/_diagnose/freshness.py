"""Which optimizer steps used gradients that were left over, and from where."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pytest_trainstep._events import GradientUse
from pytest_trainstep._record import BackwardEvent, StepEvent, StepRecord

from .because import Because, at, called, plural

REUSED = "gradient-reused"
_ESTABLISHED = 2  # windows of one length before a longer one is a leak, where a call made no step


class Leak(NamedTuple):
    """One cause, in one optimizer step."""

    cause: str
    use: GradientUse
    because: Because


def leaks(record: StepRecord, *, varying: bool = False) -> list[Leak]:
    """Return what was left over, in the order of the steps; the first of each cause and optimizer speaks for all."""
    uses = record.uses if "uses" in record.followed else _uses_told_by_words(record)
    found = [_plain(use, record) for use in uses]
    if "uses" in record.followed:
        found += [_foreign(use, record) for use in uses]
        if not varying:
            found += _windows(record)
    known: dict[int, Leak] = {}
    for leak in found:
        if leak is not None:
            known.setdefault(id(leak.use), leak)
    return sorted(known.values(), key=lambda leak: leak.use.step)


# -- gradients that a step had used already --------------------------------------------------


def _plain(use: GradientUse, record: StepRecord) -> Leak | None:
    inside = sum(one.in_step == use.step for one in record.backwards)
    if use.evaluations > 1 and use.count >= inside >= use.evaluations:  # nothing was cleared between them
        return Leak("closure-without-clear", use, _closure(use, record))
    if use.used_in is None:
        return None
    if use.wholly:
        return Leak(REUSED, use, _reused(use, record))
    return Leak("gradients-not-cleared", use, _not_cleared(use, record))


def _reused(use: GradientUse, r: StepRecord) -> Because:
    optimizer = r.optimizers[use.optimizer]
    first = _step(r, use.used_in)
    other = None if first is None or first.optimizer == use.optimizer else r.optimizers[first.optimizer]
    if other is not None:
        return Because(
            f"{called(other)} and {called(optimizer)} both hold them and both stepped{_both(first, use)} with the"
            " gradients of one backward pass: they are updated twice.",
            "give each parameter to one optimizer only (a tied weight counts once).",
        )
    return Because(
        f"{called(optimizer)} stepped{at(use.at)} with gradients that its step{at(first.at if first else None)} had"
        " used already; no backward pass ran in between.",
        "call step() once for each backward pass: one owner for the step.",
    )


def _both(first: StepEvent | None, use: GradientUse) -> str:
    return f" (at {first.at}, at {use.at})" if first and first.at and use.at else ""


def _not_cleared(use: GradientUse, r: StepRecord) -> Because:
    optimizer = r.optimizers[use.optimizer]
    others = [one for one in r.uses if one.step == use.step and one.used_in is None]
    first = _step(r, use.used_in)
    again = f"its step number {use.used_in}{at(first.at if first else None)} had used"
    if use.by_hand:
        return Because(
            f"the program adds to .grad itself, and {called(optimizer)} stepped{at(use.at)} with a gradient that still"
            f" holds what {again}.",
            "set .grad to None (zero_grad) before the new gradients are added up.",
        )
    part = " Its other parameters were cleared." if others else ""
    return Because(
        f"{called(optimizer)} stepped{at(use.at)} with gradients of {plural(use.count, 'backward pass')}, and {again}"
        f" a part of them: nothing cleared them in between.{part}",
        f"call {'zero_grad() for these too' if others else 'zero_grad()'} before each backward pass (or after each"
        " step), for every optimizer.",
    )


def _closure(use: GradientUse, r: StepRecord) -> Because:
    return Because(
        f"{called(r.optimizers[use.optimizer])} evaluated its closure {use.evaluations} times in one step{at(use.at)},"
        f" and the gradient it ended with is the sum of {use.count} backward passes.",
        "make zero_grad() the first line of the closure.",
    )


# -- gradients of another loss ---------------------------------------------------------------


def _foreign(use: GradientUse, record: StepRecord) -> Leak | None:
    """An earlier pass inside belongs to another optimizer, which has stepped; the last one is this one's own."""
    passes = {one.number: one for one in record.backwards}
    if len(use.members) < 2 or not use.whole or use.members[-1] not in passes:  # noqa: PLR2004 - a pass and an older one
        return None
    last = passes[use.members[-1]]
    owners = {one.optimizer for one in record.uses if last.number in one.members}
    if owners != {use.optimizer}:
        return None
    for number in use.members[:-1]:
        for other in record.uses:
            step = _step(record, other.step)
            if other.optimizer == use.optimizer or number not in other.members or step is None:
                continue
            if step.order < last.order:
                return Leak("foreign-gradients", use, _of_another(use, other, passes.get(number), record))
    return None


def _of_another(use: GradientUse, other: GradientUse, source: BackwardEvent | None, r: StepRecord) -> Because:
    optimizer = r.optimizers[use.optimizer]
    where = at(source.at if source else None)
    return Because(
        f"{called(optimizer)} stepped{at(use.at)} with the sum of its own gradients and those of the backward pass"
        f"{where}, which was made for {called(r.optimizers[other.optimizer])} and went through these parameters too.",
        f"clear the gradients of {optimizer.name} right before its own backward pass.",
    )


# -- accumulation windows --------------------------------------------------------------------


def _windows(record: StepRecord) -> list[Leak | None]:
    """Find windows that are longer than the others because something was left over from an earlier call."""
    found: list[Leak | None] = []
    for index in range(len(record.optimizers)):
        earlier: list[int] = []
        for use in _longest_of_each_step(record, index):
            leak = None if use.used_in is not None else _too_long(use, earlier, record)
            found.append(leak)
            if leak is None:
                earlier.append(use.count)
    return found


def _longest_of_each_step(record: StepRecord, optimizer: int) -> list[GradientUse]:
    longest: dict[int, GradientUse] = {}
    for use in record.uses:
        if use.optimizer == optimizer and not use.by_hand and use.evaluations == 0:
            kept = longest.get(use.step)
            longest[use.step] = use if kept is None or use.count > kept.count else kept
    return list(longest.values())


def _too_long(use: GradientUse, earlier: Sequence[int], record: StepRecord) -> Leak | None:
    passes = {one.number: one for one in record.backwards}
    first = passes.get(use.members[0]) if use.members else None
    if first is None or first.call >= use.call or len(set(earlier)) != 1 or use.count <= earlier[0]:
        return None
    before = [one for one in record.steps if one.optimizer == use.optimizer and one.order < first.order]
    stepped = any(one.call == first.call for one in before)
    if not stepped and len(earlier) < _ESTABLISHED:
        return None
    newest = passes.get(use.members[-1])
    elsewhere = stepped and newest is not None and newest.at != first.at
    cause = "foreign-gradients" if elsewhere else "window-leaked"
    return Leak(cause, use, _left_over(use, first, earlier[0], record, elsewhere=elsewhere))


def _left_over(use: GradientUse, first: BackwardEvent, usual: int, r: StepRecord, *, elsewhere: bool) -> Because:
    optimizer = r.optimizers[use.optimizer]
    if elsewhere:
        return Because(
            f"{called(optimizer)} stepped{at(use.at)} with gradients that the backward pass{at(first.at)} had left"
            " after its last step, beside those of its own loss.",
            "use torch.autograd.grad there (validation, an attack, a metric), or clear the gradients behind it.",
        )
    return Because(
        f"{called(optimizer)} stepped{at(use.at)} with gradients of {plural(use.count, 'backward pass')} instead of"
        f" {usual}: what call {first.call} left over{at(first.at)} went into a step of call {use.call}.",
        "step or clear at the end of an epoch, and clear before leaving a batch out.",
    )


# -- a record of which no uses were kept -----------------------------------------------------


def _uses_told_by_words(record: StepRecord) -> list[GradientUse]:
    """From the words that each step carries; the first step of an optimizer may have found old gradients."""
    uses: list[GradientUse] = []
    last: dict[int, StepEvent] = {}
    before: StepEvent | None = None
    for step in record.steps:
        twin = before if before and before.backward == step.backward and step.backward else None
        first = last.get(step.optimizer) or twin
        for word in ("stale", "mixed"):
            names = step.gradients.get(word, ())
            if names and first is not None and not (step.closure and word == "stale"):
                uses.append(
                    GradientUse(
                        step=step.number,
                        call=step.call,
                        optimizer=step.optimizer,
                        at=step.at,
                        parameters=names,
                        count=max(step.window, 2),
                        used_in=first.number,
                        wholly=word == "stale",
                    )
                )
        if not step.skipped:
            last[step.optimizer] = before = step
    return uses


def _step(record: StepRecord, number: int | None) -> StepEvent | None:
    return next((one for one in record.steps if one.number == number), None)
