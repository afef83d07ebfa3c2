"""What the audit finds in a test: which optimizer never updated anything, and why; and what else looks wrong.

The same causes as for the claims, from less evidence: an audit knows optimizers and no model.
"""

from __future__ import annotations

from typing import NamedTuple

from pytest_trainstep._heard import Group, Heard, Subject

from .because import Because, at, called, number, plural
from .finding import Finding, Reason
from .standstill import non_finite, orphaned, why

ON_PURPOSE = 'mark the test: @pytest.mark.trainstep(audit="off", reason="...")'
COLUMNS = ("group", "tensors", "lr", "|grad|", "gradients")


class Verdict(NamedTuple):
    """A finding, where it lies, and whether the mode `fail` fails a test for it."""

    finding: Finding
    at: str
    fails: bool
    optimizer: int  # index in `Subject.optimizers`

    @property
    def cause(self) -> str:
        """Return the first cause."""
        return self.finding.causes[0]


def verdicts(subject: Subject) -> list[Verdict]:
    """Judge everything that was heard in one test, worst first."""
    found = [verdict for index, heard in enumerate(subject.optimizers) for verdict in _judge(subject, heard, index)]
    return sorted(found, key=lambda one: not one.fails)


def _judge(subject: Subject, heard: Heard, index: int) -> list[Verdict]:
    if heard.clockwork:
        return []
    where = heard.stepped_at or heard.built_at or subject.at
    found: list[Verdict] = []

    def add(finding: Finding, *, fails: bool) -> None:
        found.append(Verdict(finding, where, fails, index))

    if heard.never:
        finding = _never(subject, heard, [group for group in heard.groups if group.elements])
        add(finding, fails=heard.steps > 0 and not _another_example_moved(subject, heard))
    else:
        still = [group for group in heard.groups if group.updated is False and group.frozen < group.tensors]
        if still:
            add(_never(subject, heard, still), fails=False)
    said = {cause for verdict in found for cause in verdict.finding.causes}
    for name, because in _also(heard):
        if name not in said:
            add(_finding(f"{called(heard)}: {_ALSO[name]}", [(name, because, ())]), fails=False)
    return found


def _another_example_moved(subject: Subject, heard: Heard) -> bool:
    """Tell whether, among the examples that Hypothesis drew, the same lines trained something."""
    return subject.drawn and any(
        (one.name, one.built_at) == (heard.name, heard.built_at) and any(group.updated for group in one.groups)
        for one in subject.optimizers
    )


_ALSO = {
    "stale-optimizer": "it holds tensors that no module has",
    "gradient-reused": "a step used gradients that an earlier step had used up",
    "gradients-not-cleared": "gradients of an earlier step were still there",
    "non-finite": "its weights are NaN or infinite",
    "no-step": "it was built in this test and never stepped, although backward ran",
}


def _also(heard: Heard) -> list[tuple[str, Because]]:
    """What is found whether or not something was updated."""
    found: list[tuple[str, Because]] = []
    usual = max(1, heard.steps - heard.objects)
    if heard.orphans and heard.backward_before and not heard.never:
        found.append(("stale-optimizer", orphaned(heard)))
    if 2 * heard.reused >= usual and heard.reused:
        found.append(("gradient-reused", _reused(heard)))
    if 2 * heard.leftover >= usual and heard.leftover:
        found.append(("gradients-not-cleared", _leftover(heard)))
    if heard.non_finite:
        found.append(("non-finite", non_finite(heard)))
    if not heard.steps and not heard.skipped and heard.reached:
        found.append(("no-step", _no_step(heard)))
    return found


def _never(subject: Subject, heard: Heard, groups: list[Group]) -> Finding:
    answers: dict[str, tuple[Because, list[str]]] = {}
    for group in sorted(groups, key=lambda one: -one.tensors):
        name, because = why(group, heard)
        answers.setdefault(name, (because, []))[1].append(f"group {_index(group, heard)}")
    what = "nothing" if heard.never else f"nothing in {_these(groups, heard)}"
    many = f" ({heard.objects} of them)" if heard.objects > 1 else ""
    steps = plural(heard.steps, "step") if heard.steps else f"{plural(heard.skipped, 'step')}, all skipped,"
    claim = f"{called(heard)}{many} updated {what} in {steps} of this {subject.kind}"
    rows = tuple(_row(heard, group) for group in groups)
    return _finding(claim, [(name, because, tuple(names)) for name, (because, names) in answers.items()], rows)


def _index(group: Group, heard: Heard) -> int:
    """Return its number; another group may have fared exactly alike."""
    return next(number for number, one in enumerate(heard.groups) if one is group)


def _these(groups: list[Group], heard: Heard) -> str:
    """Name groups among others: `1 of 2 groups (group 0: encoder.weight, encoder.bias)`."""
    names = (f"group {_index(group, heard)}: {', '.join(group.stuck)}" for group in groups if group.stuck)
    told = "; ".join(names)
    return f"{len(groups)} of {len(heard.groups)} groups" + (f" ({told})" if told else "")


def _finding(
    claim: str, answers: list[tuple[str, Because, tuple[str, ...]]], rows: tuple[tuple[str, ...], ...] = ()
) -> Finding:
    return Finding(
        claim=claim,
        causes=tuple(name for name, _, _ in answers),
        parameters={group: name for name, _, groups in answers for group in groups},
        reasons=tuple(
            Reason(cause=name, because=because.text, fix=because.fix, parameters=groups)
            for name, because, groups in answers
        ),
        columns=COLUMNS if rows else (),
        rows=rows,
        on_purpose=ON_PURPOSE,
    )


def _row(heard: Heard, group: Group) -> tuple[str, ...]:
    stands = ", ".join(f"{count} {stand}" for stand, count in sorted(group.stands.items()))
    lr = "-" if group.lr is None else "..".join(dict.fromkeys(map(number, group.lr)))
    grad = "-" if group.grad_max is None else number(group.grad_max)
    return str(_index(group, heard)), str(group.tensors), lr, grad, stands or "-"


def _reused(heard: Heard) -> Because:
    return Because(
        f"{heard.reused} of {plural(heard.steps, 'step')}{at(heard.stepped_at)} used a gradient that an earlier step had"
        " used, with no backward pass between.",
        "call backward() before every step.",
    )


def _leftover(heard: Heard) -> Because:
    return Because(
        f"in {heard.leftover} of {plural(heard.steps, 'step')}{at(heard.stepped_at)} the new gradient was added to one"
        " that an earlier step had used.",
        "call optimizer.zero_grad() once before each backward pass (or accumulation window).",
    )


def _no_step(heard: Heard) -> Because:
    return Because(
        "a backward pass gave its tensors gradients, and no optimizer that holds them was stepped in this test.",
        "call optimizer.step() after loss.backward(), and see that it is reached: a whole accumulation window has to run.",
    )
