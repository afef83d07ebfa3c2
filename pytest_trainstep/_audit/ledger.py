"""What runs where the reports arrive: gathers what was heard in all processes, and tells it at the end."""

from __future__ import annotations

import platform
import time
from importlib import metadata
from typing import TYPE_CHECKING, Any

import pytest

from pytest_trainstep._report import Run, summarise, text, write

from .guard import Notes
from .listener import FIELD, NOTES
from .spool import Spool

if TYPE_CHECKING:
    from . import Asked

_LOST = 20  # names of tests that are kept


class Ledger:
    """Hooks of the process that the user looks at; alone, under xdist, and without a terminal."""

    def __init__(self, config: pytest.Config, asked: Asked) -> None:
        self.notes = Notes()
        self._config = config
        self._asked = asked
        self._spool = Spool()
        self.run = Run(
            mode=asked.mode,
            started=time.time(),
            made_by={
                "pytest-trainstep": _version("pytest-trainstep"),
                "pytest": pytest.__version__,
                "python": platform.python_version(),
                "torch": _version("torch"),
            },
        )

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.run.collected = max(self.run.collected, session.testscollected)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        with self.notes.guard("gather"):
            if report.when == "teardown":
                self.run.ran += 1
                for kind, name, line in report.__dict__.pop(FIELD, ()):
                    self._spool.add(kind, name, line)
            elif report.when not in ("setup", "call"):
                self.run.lost += 1  # xdist reports a test that took its worker along
                if len(self.run.lost_ids) < _LOST:
                    self.run.lost_ids.append(report.nodeid)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:  # noqa: ANN401 (a class of xdist)
        for note in getattr(node, "workeroutput", {}).get(NOTES, ()):
            self.notes.add(note)

    def _all_notes(self) -> list[str]:
        listener = self._config.pluginmanager.get_plugin("trainstep-listener")
        own = [] if listener is None else listener.notes.said
        return [*self.notes.said, *own]

    @pytest.hookimpl(trylast=True)  # and before the terminal, which wraps this hook, sums up
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        with self.notes.guard("finish"):
            self.run.duration = time.time() - self.run.started
            self.run.exit_status = int(exitstatus)
            self.run.collected = max(self.run.collected, session.testscollected)
            for path in self._asked.paths:
                self._write(path)

    def _write(self, path: object) -> None:
        from pathlib import Path

        target = Path(str(path))
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        if len(self._spool) > 1000 and terminal is not None:  # noqa: PLR2004 - takes more than a second
            terminal.ensure_newline()
            terminal.line(f"trainstep: writing {target.name} for {len(self._spool)} tests ...")
        with self.notes.guard(f"write {target.name}"):
            self.run.notes = self._all_notes()
            write(target, self.run, self._spool)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        told = False
        with self.notes.guard("summary"):
            summary = summarise(self._spool)
            self.run.notes = self._all_notes()
            verbose = terminalreporter.verbosity
            lines = text.lines(self.run, summary, verbose=verbose)
            if lines:
                terminalreporter.section("trainstep audit")
                for line in lines:
                    terminalreporter.line(line)
            told = True
        if not told:
            terminalreporter.line(f"trainstep audit: {'; '.join(self._all_notes())}")
        for path in self._asked.paths:
            if path.exists() and terminalreporter.verbosity >= 0:
                terminalreporter.line(f"trainstep audit: {path}")

    def pytest_unconfigure(self) -> None:
        with self.notes.guard("unconfigure"):
            self._spool.close()


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
