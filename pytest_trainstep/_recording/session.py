"""The recordings of a whole test session: which mode, which test is running, which files have become stale."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

MODES = ("none", "new", "all")


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
    asked = config.getoption("trainstep_record") or config.getini("trainstep_record")
    mode = asked or ("none" if os.environ.get("CI") else "new")
    if mode not in MODES:
        msg = f"--trainstep-record: unknown mode {mode!r}; valid are {', '.join(MODES)}"
        raise pytest.UsageError(msg)
    return str(mode)


class RecordingSession:
    """Knows the running test, and in the end which recordings no test has asked for."""

    def __init__(self, config: pytest.Config) -> None:
        self.mode = mode_of(config)
        self.test: tuple[Path, str] | None = None
        self.calls = 0
        self.used: set[Path] = set()
        self.written: list[Path] = []
        self.complete: set[Path] = set()
        self.partial = False

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        name = item.nodeid.partition("::")[2].replace("::", ".")
        self.test, self.calls = (item.path, name), 0

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        self.partial = self.partial or bool(items)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        narrowed = any("::" in str(argument) for argument in session.config.args)
        if not self.partial and not narrowed:
            self.complete = {item.path for item in session.items}

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
        self.used.add(found)
        return found

    def stale(self) -> list[Path]:
        """Return recordings beside the collected test files that no test has asked for."""
        from . import files

        folders = {file.parent / files.FOLDER / file.stem for file in self.complete}
        there = {path for folder in folders if folder.is_dir() for path in folder.glob("*.json")}
        return sorted(there - self.used)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
        # a worker's recordings are not known here, and a stopped session has not asked for all of them
        whole = not hasattr(config, "workerinput") and not config.getoption("numprocesses", None)
        finished = not terminalreporter.stats.get("failed") and not terminalreporter.stats.get("error")
        stale = self.stale() if whole and finished and self.used else []
        for path in self.written:
            terminalreporter.line(f"trainstep: recorded {_short(path, config)}")
        for path in stale:
            terminalreporter.line(f"trainstep: stale recording {_short(path, config)} (no test asks for it; delete it)")


def _short(path: Path, config: pytest.Config) -> str:
    return str(path.relative_to(config.rootpath)) if path.is_relative_to(config.rootpath) else str(path)
