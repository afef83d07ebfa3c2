"""One test, once more: from where its first run began, with fixtures of every scope made anew, and for so long only."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
import unittest
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from pytest_trainstep._watch.tally import Stopped

if TYPE_CHECKING:
    from .quiet import Quiet


class Outcome(NamedTuple):
    """How a run ended."""

    green: bool
    how: str
    """The last line of what made it fail, or empty."""
    seconds: float


class Runner:
    """Runs tests again, each from where its first run began as far as that lies outside of it."""

    def __init__(self, quiet: Quiet) -> None:
        self._quiet = quiet
        self._surroundings = _Surroundings()

    def run(self, item: pytest.Item, *, seconds: float, names: dict[str, Any] | None = None) -> Outcome:
        """Run a test, on its own.

        Args:
            item: It.
            seconds: After so long it is stopped.
            names: What the names of a doctest stood for before its first run, which clears them.
        """
        self._quiet.reports.clear()
        if names is not None:
            item.dtest.globs.update(names)  # type: ignore[attr-defined]
        properties = len(item.user_properties)
        started = time.perf_counter()
        ended_by = self._protocol(item, seconds)
        took = time.perf_counter() - started
        self._surroundings.put_back()
        del item.user_properties[properties:]
        return _outcome(self._quiet.reports, ended_by, took)

    def _protocol(self, item: pytest.Item, seconds: float) -> str:
        """Return by what the run was ended before its end, or nothing."""
        with _hypothesis_settled(item), _alarm(seconds, self._quiet):
            _forget_the_instance(item)
            try:
                item.ihook.pytest_runtest_protocol(item=item, nextitem=None)
            except (Stopped, pytest.exit.Exception) as error:
                with contextlib.suppress(Exception, Stopped, pytest.exit.Exception):
                    item.ihook.pytest_runtest_teardown(item=item, nextitem=None)  # pytest has left it standing
                return f"{type(error).__name__}: {error}"
        return ""


def _outcome(reports: Sequence[pytest.TestReport], ended_by: str, seconds: float) -> Outcome:
    failed = next((report for report in reports if report.failed), None)
    if failed is not None:
        return Outcome(green=False, how=_last_line(failed), seconds=seconds)
    if ended_by or not any(report.when == "call" for report in reports):
        return Outcome(green=False, how=ended_by or "it was skipped", seconds=seconds)
    return Outcome(green=True, how="", seconds=seconds)


def _last_line(report: pytest.TestReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    lines = (crash.message if crash is not None else str(report.longrepr)).strip().splitlines()
    first = lines[0].strip().removeprefix("pytest_trainstep.Stopped: ") if lines else ""
    text = f"{report.when}: {first}" if report.when in ("setup", "teardown") else first
    return text[:200]


def _forget_the_instance(item: pytest.Item) -> None:
    """A test in a class gets a new instance, as it had in its first run; unittest makes its own."""
    cls = getattr(item, "cls", None)
    if cls is not None and not issubclass(cls, unittest.TestCase):
        vars(item).pop("_instance", None)
        vars(item).pop("_obj", None)


class _Surroundings:
    """What a test that fails in the middle may not get to putting back: torch's modes, the folder, the environment."""

    def __init__(self) -> None:
        from pytest_trainstep._watch import restore

        self._modes = restore.global_modes()
        self._folder, self._environment = os.getcwd(), dict(os.environ)  # noqa: PTH109 - a string is wanted

    def put_back(self) -> None:
        """Let everything be as it was noted."""
        self._modes()
        with contextlib.suppress(OSError):  # it may be gone
            os.chdir(self._folder)
        if dict(os.environ) != self._environment:
            os.environ.clear()
            os.environ.update(self._environment)


@contextlib.contextmanager
def _alarm(seconds: float, quiet: Quiet) -> Iterator[None]:
    """Stop what takes too long, where the system has such an alarm."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(*_: object) -> None:
        if not quiet.in_a_phase:  # pytest itself is at work; it is not made for exceptions there
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            return
        signal.setitimer(signal.ITIMER_REAL, seconds)  # the teardown has as long again
        raise Stopped(f"stopped after {seconds:.0f} seconds")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def _hypothesis_settled(item: pytest.Item) -> Iterator[None]:
    """Let a `@given` test draw the same examples in every run, keep none, and shrink none."""
    found = [(owner, name, getattr(owner, name)) for owner, name in _settings_of(item)]
    for owner, name, before in found:
        setattr(owner, name, _settled(before))
    try:
        yield
    finally:
        for owner, name, before in found:
            setattr(owner, name, before)


def _settings_of(item: pytest.Item) -> Iterator[tuple[Any, str]]:
    """Yield where Hypothesis keeps the settings of a test: on each function around it, or on the class of a state machine."""
    if "hypothesis" not in sys.modules:
        return
    from hypothesis import settings

    function = getattr(item, "function", None)
    while function is not None:
        if "_hypothesis_internal_use_settings" in vars(function):
            yield function, "_hypothesis_internal_use_settings"
        function = getattr(function, "__wrapped__", None)
    cls = getattr(item, "cls", None)
    if isinstance(getattr(cls, "settings", None), settings):
        yield cls, "settings"


def _settled(before: Any) -> Any:  # noqa: ANN401 (settings of Hypothesis)
    from hypothesis import HealthCheck, Phase, settings

    return settings(
        before,
        database=None,
        deadline=None,
        derandomize=True,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=tuple(HealthCheck),
        report_multiple_bugs=False,
        print_blob=False,
    )
