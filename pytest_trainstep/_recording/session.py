"""The recordings of a whole test session: which mode, which test is running, what it asked for and where it parted."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_trainstep._recording.comparing import Parted

MODES = ("none", "new", "all")
FOLDER = "__trainstep__"
FIELD = "trainstep_recordings"
_NARROWING = ("lf", "collectonly", "setuponly", "setupplan", "forked")


def declare(parser: pytest.Parser) -> None:
    """Add the option and its ini twin."""
    described = "recordings of training: 'new' records what has none (default), 'none' never writes (default in CI), 'all' records anew"
    parser.getgroup("trainstep").addoption("--trainstep-record", default=None, metavar="MODE", help=described)
    parser.addini("trainstep_record", described, type="string", default="")


def mode_of(config: pytest.Config) -> str:
    """Return the mode asked for.

    Raises:
        pytest.UsageError: It is none of the three.
    """
    option, said = config.getoption("trainstep_record"), config.getini("trainstep_record")
    mode = option or said or ("none" if os.environ.get("CI") else "new")
    if mode not in MODES:
        where = "--trainstep-record" if option else "ini key trainstep_record"
        msg = f"{where}: unknown mode {mode!r}; valid are {', '.join(MODES)}"
        raise pytest.UsageError(msg)
    return str(mode)


class RecordingSession:
    """Knows the running test; in the end, which recordings no test has asked for, and which trainings have parted.

    Under xdist one lives in each worker, which tells what it knows to the one of the process that reports.
    """

    def __init__(self, config: pytest.Config) -> None:
        self.mode = mode_of(config)
        self.config = config
        self.test: tuple[Path, str] | None = None
        self.calls = 0
        self.used: set[str] = set()
        self.written: set[str] = set()
        self.devices: set[str] = set()
        self.collected: dict[str, int] = {}  # tests by file
        self.passed: dict[str, int] = {}
        self.narrowed = any(config.getoption(name, default=False) for name in _NARROWING)
        self.parting: list[Parted] = []  # of the running test
        self.parted: dict[str, list[Parted]] = {}  # by test

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        name = item.nodeid.partition("::")[2].replace("::", ".")
        self.test, self.calls, self.parting = (item.path, name), 0, []

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        self.narrowed = self.narrowed or bool(items)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        for item in session.items:
            file = str(item.path)
            self.collected[file] = self.collected.get(file, 0) + 1

    def path(self, key: str) -> Path:
        """Return the file of the next recording of the running test.

        Raises:
            pytest.UsageError: No test is running.
        """
        if self.test is None:
            msg = "trainstep_recording works inside a test"
            raise pytest.UsageError(msg)
        from . import files

        self.calls += 1
        file, name = self.test
        found = files.path_for(file, name, key or ("" if self.calls == 1 else str(self.calls)))
        self.used.add(str(found))
        return found

    def shown(self, path: Path | str) -> str:
        """Return a path as the user would type it."""
        from pathlib import Path

        path = Path(path)
        root = self.config.rootpath
        return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)

    @pytest.hookimpl(tryfirst=True)  # what is put on a report in a worker is sent with it
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if self.test is not None and report.when != "teardown":
            if report.passed and report.when == "call":
                file = str(self.test[0])
                self.passed[file] = self.passed.get(file, 0) + 1
            if report.failed and self.parting:
                report.__dict__[FIELD] = self.parting
        if not hasattr(self.config, "workerinput"):
            self._gather(report)

    def _gather(self, report: pytest.TestReport) -> None:
        if report.when == "setup":
            self.parted.pop(report.nodeid, None)  # tried again: the last attempt counts
        parting = report.__dict__.pop(FIELD, None)
        if parting:
            self.parted[report.nodeid] = parting

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:  # a class of xdist
        told = getattr(node, "workeroutput", {}).get(FIELD)
        if told is None:
            return  # crashed: the tests it ran count as not passed
        for name in ("used", "written", "devices"):
            getattr(self, name).update(told[name])
        self.narrowed = self.narrowed or told["narrowed"]
        self.collected = self.collected or told["collected"]
        for file, count in told["passed"].items():
            self.passed[file] = self.passed.get(file, 0) + count

    @pytest.hookimpl(tryfirst=True)  # before the reports are written
    def pytest_sessionfinish(self) -> None:
        output: dict[str, Any] | None = getattr(self.config, "workeroutput", None)
        if output is not None:
            sets = {name: sorted(getattr(self, name)) for name in ("used", "written", "devices")}
            counts = {"collected": self.collected, "passed": self.passed, "narrowed": self.narrowed}
            output[FIELD] = {**sets, **counts}
            return
        audit: Any = self.config.pluginmanager.get_plugin("trainstep-ledger")
        if audit is not None:  # a report was asked for
            audit.run.recordings = [one for name in sorted(self.parted) for one in self.parted[name]]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for name in sorted(self.written):
            terminalreporter.line(f"trainstep: recorded {self.shown(name)}")
        for path in self._stale():
            terminalreporter.line(f"trainstep: stale recording {self.shown(path)} (no test asks for it; delete it)")

    def _stale(self) -> list[Path]:
        if self.narrowed or self.config.args_source is pytest.Config.ArgsSource.ARGS:
            return []
        from pathlib import Path

        whole = [file for file, count in self.collected.items() if self.passed.get(file, 0) >= count]
        if not any(folder.joinpath(FOLDER).is_dir() for folder in {Path(file).parent for file in whole}):
            return []  # as in most suites; nothing is imported to find that out
        from . import stale

        return stale.among(whole, self.used, self.devices)
