"""How far the second pass is: it can take a multiple of the first. Alone it tells the terminal, a worker leaves a file."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

INPUT = "trainstep_mutation_progress"
"""Where the controller tells a worker in which folder to leave its numbers."""

_EVERY = 0.2  # seconds between two lines on a terminal that can rewrite its line
_PLAIN = 30.0  # and where each is there for good


class Line:
    """The one line in the terminal: tests done, faults left, time left."""

    def __init__(self, terminal: pytest.TerminalReporter | None) -> None:
        self._terminal = None if terminal is None or terminal.verbosity < -1 else terminal
        self._started = time.perf_counter()
        self._told = float("-inf")
        self._open = False

    def tell(self, tests: int, planted: int, faults: int, tests_done: int) -> None:
        """Show how far it is, if the last time was long enough ago.

        Args:
            tests: How many tests train.
            planted: How many faults have been planted into them.
            faults: How many will be.
            tests_done: The tests of which nothing is left.
        """
        terminal, now = self._terminal, time.perf_counter()
        if terminal is None or now - self._told < (_EVERY if terminal.isatty else _PLAIN):
            return
        if not self._open:
            terminal.write("\n")  # the line of dots is open
            self._open = True
        self._told = now
        line = f"trainstep mutate: {tests_done} of {tests} tests done, {faults - planted} faults left"
        if planted:
            line += f", about {(now - self._started) / planted * (faults - planted):.0f} s left"
        if terminal.isatty:
            terminal.rewrite(line, erase=True)
        else:
            terminal.line(line)

    def end(self) -> None:
        """Take the line away, where that can be done."""
        if self._terminal is not None and self._terminal.isatty and self._open:
            self._terminal.rewrite("", erase=True)


class Progress:
    """Counts in the process in which the tests run."""

    def __init__(self, config: pytest.Config, tests: int, faults: int) -> None:
        given = getattr(config, "workerinput", {})
        self._file = Path(given[INPUT], given["workerid"]) if INPUT in given else None
        self._line = Line(None if given else config.pluginmanager.get_plugin("terminalreporter"))
        self._tests, self._faults, self._planted = tests, faults, 0
        self._tell()

    def planted(self) -> None:
        """One fault more is behind us."""
        self._planted += 1
        self._tell()

    def end(self) -> None:
        """Leave the line."""
        self._line.end()

    def _tell(self) -> None:
        numbers = (self._tests, self._planted, self._tests * self._faults, self._planted // self._faults)
        self._line.tell(*numbers)
        if self._file is not None:
            with contextlib.suppress(OSError):  # on another machine there is no such folder
                self._file.with_suffix(".part").write_text(json.dumps(numbers))
                self._file.with_suffix(".part").replace(self._file.with_suffix(".json"))


class Followed:
    """In the controller of workers: adds up what they leave, and tells it once all tests have been reported."""

    def __init__(self, config: pytest.Config) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="trainstep-"))
        self.may_speak = False
        self._line = Line(config.pluginmanager.get_plugin("terminalreporter"))
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="trainstep-progress", daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        while not self._over.wait(_EVERY):
            if self.may_speak:
                self._add_up()

    def _add_up(self) -> None:
        rows = []
        for file in self.folder.glob("*.json"):
            with contextlib.suppress(OSError, ValueError):
                rows.append(json.loads(file.read_text()))
        if rows and any(row[1] < row[2] for row in rows):
            tests, planted, faults, done = (sum(column) for column in zip(*rows, strict=True))
            self._line.tell(tests, planted, faults, done)

    def end(self) -> None:
        """Stop following, and remove the folder."""
        self._over.set()
        self._thread.join()
        self._line.end()
        shutil.rmtree(self.folder, ignore_errors=True)
