"""What runs where the reports arrive: puts the second passes of all processes together, and tells the score."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_trainstep._planted import Plantings
from pytest_trainstep._report import mutation

from .passes import OUTPUT
from .progress import INPUT, Followed

if TYPE_CHECKING:
    from . import Asked


class Ledger:
    """Hooks of the process that the user looks at; alone, under xdist, and without a terminal."""

    def __init__(self, config: pytest.Config, asked: Asked) -> None:
        self.all = Plantings(faults=asked.faults, scored=asked.scored, fail_under=asked.fail_under)
        self._config = config
        self._followed: Followed | None = None
        self._finished = self._collected = 0

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:  # noqa: ANN401 (a class of xdist)
        self._followed = self._followed or Followed(self._config)
        node.workerinput[INPUT] = str(self._followed.folder)

    def pytest_runtest_logfinish(self) -> None:
        self._finished += 1
        if self._followed is not None:
            self._followed.may_speak = self._finished >= self._collected

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._collected = max(self._collected, session.testscollected)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:  # noqa: ANN401 (a class of xdist)
        line = getattr(node, "workeroutput", {}).get(OUTPUT)
        if line is None:
            self.all.note(f"worker {node.gateway.id} was lost: its tests had no second pass")
        else:
            self._add(Plantings.loads(line))

    def _add(self, found: Plantings) -> None:
        known = {test.id: test for test in self.all.tests}
        known.update({test.id: test for test in found.tests})
        self.all.tests = [known[name] for name in sorted(known)]
        self.all.left_out = dict(sorted({**self.all.left_out, **found.left_out}.items()))
        self.all.already_failing += found.already_failing
        self.all.seconds = max(self.all.seconds, found.seconds)
        for note in found.notes:
            self.all.note(note)

    @pytest.hookimpl(tryfirst=True)  # before the audit's ledger writes the reports
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if self._followed is not None:
            self._followed.end()
        passes = self._config.pluginmanager.get_plugin("trainstep-mutation")
        if passes is not None:
            self._add(passes.found)
        audit = self._config.pluginmanager.get_plugin("trainstep-ledger")
        if audit is not None:  # a report was asked for, or the audit itself
            audit.run.plantings = self.all
        if exitstatus == pytest.ExitCode.OK and not self.all.enough:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        lines = mutation.lines(self.all, verbose=terminalreporter.verbosity)
        if lines:
            terminalreporter.section("trainstep mutate")
            for line in lines:
                terminalreporter.line(line)
