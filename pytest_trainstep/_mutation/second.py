"""The second pass: a control without a fault, then one run for each fault."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pytest_trainstep._audit.listener import place
from pytest_trainstep._planted import KILLED, NOT_APPLICABLE, NOT_REPEATABLE, SURVIVED, Cell, Planted
from pytest_trainstep._watch import callers, faults
from pytest_trainstep._watch.tally import most_steps

from .again import Outcome, Runner
from .quiet import Quiet

if TYPE_CHECKING:
    from pytest_trainstep._watch.tally import Tally

    from .passes import Candidate, Passes
    from .progress import Progress

_AUDIT = ("trainstep-listener", "trainstep-ledger")  # what it would fail is not what the user's own tests notice


def run(passes: Passes, candidates: Sequence[Candidate], progress: Progress) -> None:
    """Go through the tests that trained, and write down how each fared."""
    assert passes.tally is not None
    with Quiet(passes._config, _AUDIT) as quiet:  # noqa: SLF001 - of the same room
        runner = Runner(quiet)
        for candidate in candidates:
            planted = _Trial(passes, candidate, runner, passes.tally).run(progress)
            passes.found.tests.append(planted)


class _Trial:
    """All runs of one test."""

    def __init__(self, passes: Passes, candidate: Candidate, runner: Runner, tally: Tally) -> None:
        self._passes, self._candidate, self._runner, self._tally = passes, candidate, runner, tally
        self._planted = Planted(id=candidate.item.nodeid, at=place(candidate.item))
        self._updates = False

    def run(self, progress: Progress) -> Planted:
        planted = self._planted
        self._tally.at_first, self._tally.updated = self._look, False
        control = self._once(10 * self._candidate.seconds + 60)
        self._updates, self._tally.at_first, self._tally.updated = bool(self._tally.updated), None, None
        planted.steps, planted.seconds = self._tally.steps, control.seconds
        trouble = control.how
        if control.green and not planted.steps:
            trouble = "it did not train when it was run again"
        for fault in self._passes.found.faults:
            if trouble:
                planted.cells[fault] = Cell(verdict=NOT_REPEATABLE, how=trouble)
            else:
                planted.cells[fault] = self._with(fault, control)
            progress.planted()
        return planted

    def _once(self, seconds: float) -> Outcome:
        candidate = self._candidate
        if candidate.starts is not None:
            candidate.starts.restore()
        if candidate.streams is not None:
            candidate.streams()
        self._passes.current, self._tally.steps = candidate, 0
        return self._runner.run(candidate.item, seconds=seconds, names=candidate.names)

    def _with(self, fault: str, control: Outcome) -> Cell:
        self._tally.limit = most_steps(self._planted.steps)
        try:
            with faults.planted(fault) as planted:
                outcome = self._once(10 * control.seconds + 5)
        finally:
            self._tally.limit = None
        self._planted.seconds += outcome.seconds
        if not planted.applied:
            if outcome.green:
                return Cell(verdict=NOT_APPLICABLE)
            return Cell(verdict=NOT_REPEATABLE, how=f"it failed, and the fault had changed nothing: {outcome.how}")
        if outcome.green and not self._updates:
            return Cell(verdict=NOT_APPLICABLE, how="no step of this test changes a weight, with or without a fault")
        if outcome.green and planted.resisted:
            return Cell(verdict=NOT_APPLICABLE, how="weights changed in spite of it")
        return Cell(verdict=SURVIVED if outcome.green else KILLED, how=outcome.how)

    def _look(self, optimizer: Any) -> None:  # noqa: ANN401 (an optimizer, or what says it is one)
        name = getattr(self._candidate.item, "originalname", None) or self._candidate.item.name
        fixture = self._passes.fixtures[-1] if self._passes.fixtures else ""
        self._planted.place = callers.place(optimizer, name, fixture)
