"""Totals over a suite, in one pass: what every view begins with."""

from __future__ import annotations

import dataclasses
import heapq
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_trainstep._heard import Subject
from pytest_trainstep._planted import Plantings

if TYPE_CHECKING:
    from pytest_trainstep._diagnose.audit import Verdict
    from pytest_trainstep._recording.comparing import Parted

WORST = 200  # findings that are kept for the text views

NOT_OBSERVED = (
    "processes that a test starts itself",
    "training while modules are imported or collected",
    "weights that are written without a torch.optim optimizer",
    "steps under a TorchDispatchMode of the test's own",
)
"""What an audit cannot see, in words; every report says it."""


@dataclass(slots=True, kw_only=True)
class Run:
    """What is known of the session as a whole."""

    mode: str = "report"
    made_by: dict[str, str] = field(default_factory=dict)
    started: float = 0.0
    duration: float = 0.0
    exit_status: int = 0
    collected: int = 0
    ran: int = 0
    lost: int = 0
    lost_ids: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    plantings: Plantings | None = None
    """The second pass, where faults were planted."""
    recordings: list[Parted] = field(default_factory=list)
    """The trainings that parted from their recordings."""

    @property
    def complete(self) -> bool:
        """Every collected test came to its end."""
        return not self.lost and self.ran >= self.collected


@dataclass(slots=True, order=True)
class Found:
    """A finding and where it belongs; the worst compares largest."""

    weight: tuple[bool, bool]
    id: str
    verdict: Verdict = field(compare=False)
    subject: Subject = field(compare=False)


@dataclass(slots=True, kw_only=True)
class Summary:
    """Totals, the causes counted, and the worst findings."""

    tests: int = 0  # tests in which an optimizer was stepped, or something was found
    fixtures: int = 0
    optimizers: int = 0
    steps: int = 0
    noop_steps: int = 0
    skipped_steps: int = 0
    with_findings: int = 0
    findings: int = 0
    failing: int = 0  # findings for which the mode `fail` fails a test
    excused: int = 0
    causes: Counter[str] = field(default_factory=Counter)
    worst: list[Found] = field(default_factory=list)
    unneeded: list[str] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)


def verdicts(subject: Subject) -> list[Verdict]:
    """Judge what was heard, worst first; where all was well, the rules are not even imported."""
    if subject.quiet:
        return []
    from pytest_trainstep._diagnose import audit

    return audit.verdicts(subject)


def judged(subject: Subject) -> list[Verdict]:
    """Return what counts of the findings of one test: none, if it is excused."""
    return [] if subject.excuse is not None else verdicts(subject)


def summarise(subjects: Iterable[Subject]) -> Summary:
    """Go through everything once."""
    summary = Summary()
    worst: list[tuple[tuple[bool, bool, _Backwards], int, Found]] = []
    for number, found in enumerate(_counted(subjects, summary)):
        entry = ((*found.weight, _Backwards(found.id)), -number, found)
        if len(worst) < WORST:
            heapq.heappush(worst, entry)
        else:
            heapq.heappushpop(worst, entry)
    summary.worst = [found for _, _, found in sorted(worst, reverse=True)]
    return summary


class _Backwards(str):
    """The first name in the alphabet is the largest."""

    __slots__ = ()

    def __lt__(self, other: str) -> bool:
        return str.__gt__(self, other)


def _counted(subjects: Iterable[Subject], summary: Summary) -> Iterator[Found]:
    for subject in subjects:
        _count(subject, summary)
        found = judged(subject)
        summary.with_findings += bool(found)
        for verdict in found:
            summary.findings += 1
            summary.failing += verdict.fails
            summary.causes[verdict.cause] += 1
            yield Found((verdict.fails, subject.outcome == "passed"), subject.id, verdict, _light(subject))


def _light(subject: Subject) -> Subject:
    """The worst findings are kept in memory: without the points of pictures."""
    optimizers = [dataclasses.replace(heard, curves=[]) for heard in subject.optimizers]
    return dataclasses.replace(subject, optimizers=optimizers, losses=[])


def _count(subject: Subject, summary: Summary) -> None:
    if subject.optimizers:
        summary.tests += subject.kind == "test"
        summary.fixtures += subject.kind == "fixture"
    for heard in subject.optimizers:
        summary.optimizers += heard.objects
        summary.steps += heard.steps
        summary.noop_steps += heard.noop_steps
        summary.skipped_steps += heard.skipped
    summary.notes.update(subject.notes)
    if subject.excuse is not None:
        summary.excused += 1
        if subject.outcome == "passed" and not verdicts(subject):
            summary.unneeded.append(subject.id)
