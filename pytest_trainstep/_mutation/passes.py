"""The two passes: the first takes note of what trains and changes nothing, the second plants faults into it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from pytest_trainstep import _settings, _torch_import
from pytest_trainstep._audit.guard import Notes
from pytest_trainstep._planted import Plantings

if TYPE_CHECKING:
    from collections.abc import Generator

    from pytest_trainstep._watch.tally import Starts, Tally

    from . import Asked

OUTPUT = "trainstep_mutation"
"""Where a worker leaves what it found, as a line of JSON."""


@dataclass(slots=True, kw_only=True)
class Wide:
    """A fixture that serves more than one test, as it was last set up."""

    owner: str
    """The test for which it was."""
    streams: Callable[[], None] | None
    """Puts the random streams to where they stood."""
    trains: bool = False


@dataclass(slots=True, kw_only=True)
class Candidate:
    """A test of the first pass: what is needed to run it again from where it began."""

    item: pytest.Item
    streams: Callable[[], None] | None = None
    names: dict[str, Any] | None = None
    starts: Starts | None = None
    wide: dict[str, Wide] = field(default_factory=dict)
    seconds: float = 0.0
    steps: int = 0
    passed: bool = True
    called: bool = False
    left_out: str | None = None
    """Why no fault is to be planted, from its marker."""

    @property
    def trains(self) -> bool:
        return self.steps > 0 or any(one.trains for one in self.wide.values())


class Passes:
    """Hooks of the process in which the tests run."""

    def __init__(self, config: pytest.Config, asked: Asked) -> None:
        self.found = Plantings(faults=asked.faults, scored=asked.scored, fail_under=asked.fail_under)
        self.tally: Tally | None = None
        self.notes = Notes()
        self.fixtures: list[str] = []  # being set up, the innermost last
        self.current: Candidate | None = None
        self.again = False
        self._config = config
        self._began = 0.0  # when the present test did
        self._candidates: list[Candidate] = []
        self._living: list[Starts] = []  # of candidates, those of which something outlives its test
        self._wide: dict[tuple[str, str], Wide] = {}
        self._forget = _torch_import.when_torch_is_imported(self._torch_arrived)

    def _torch_arrived(self) -> None:
        from pytest_trainstep._watch import restore, tally

        if self.tally is None:
            counting = tally.Tally()
            counting.install()
            self.tally = counting
            if self.current is not None:
                self.current.streams, self.current.starts = restore.random_states(), tally.Starts()
                self.tally.starts = self.current.starts

    def pytest_unconfigure(self) -> None:
        self._forget()
        if self.tally is not None:
            self.tally.remove()

    def _streams(self) -> Callable[[], None] | None:
        if self.tally is None:
            return None
        from pytest_trainstep._watch import restore

        return restore.random_states()

    # -- the first pass --------------------------------------------------------------------

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        __tracebackhide__ = True
        if self.again:
            return (yield)
        with self.notes.guard("begin"):
            self._begin(item)
        try:
            return (yield)
        finally:
            with self.notes.guard("end"):
                self._end()

    def _begin(self, item: pytest.Item) -> None:
        names = getattr(getattr(item, "dtest", None), "globs", None)
        self.current = Candidate(item=item, streams=self._streams())
        self._began = time.perf_counter()
        self.current.names = None if names is None else dict(names)
        if self.tally is not None:
            from pytest_trainstep._watch.tally import Starts

            self.tally.steps = 0
            self.tally.starts = self.current.starts = Starts()

    def _end(self) -> None:
        ran, self.current = self.current, None
        if ran is None or self.tally is None:
            return
        ran.seconds = time.perf_counter() - self._began
        ran.steps, self.tally.starts = self.tally.steps, None
        used = set(getattr(ran.item, "fixturenames", ()))
        ran.wide = {
            name: wide for (name, base), wide in self._wide.items() if name in used and ran.item.nodeid.startswith(base)
        }
        if not ran.trains:
            return
        if not (ran.passed and ran.called):
            self.found.already_failing += 1
        elif ran.left_out is not None:
            self.found.left_out[ran.item.nodeid] = ran.left_out
        else:
            self._keep(ran)

    def _keep(self, ran: Candidate) -> None:
        from pytest_trainstep._watch.tally import living, within_budget

        self._candidates.append(ran)
        if ran.starts is not None:
            self._living = living([*self._living, ran.starts])
            if not within_budget(self._living):
                ran.starts.forget()
                self.found.note(
                    "weights that outlive their tests were too large to keep all: some later runs may not repeat"
                )

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        ran = self.current
        if ran is None or report.nodeid != ran.item.nodeid:
            return
        if report.when == "setup":
            ran.passed, ran.called = True, False  # another attempt
            if _settings.current().mutate == "off":
                ran.left_out = _settings.current().reason
        ran.passed = ran.passed and report.passed and not hasattr(report, "wasxfail")
        ran.called = ran.called or report.when == "call"

    # -- both ------------------------------------------------------------------------------

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Generator[None, object, object]:
        __tracebackhide__ = True
        self.fixtures.append(fixturedef.argname)
        after = None
        if fixturedef.scope != "function" and self.current is not None:
            with self.notes.guard("fixture setup"):
                after = self._before_wide(fixturedef)
        try:
            return (yield)
        finally:
            self.fixtures.pop()
            if after is not None:
                after()

    def _before_wide(self, fixturedef: pytest.FixtureDef[Any]) -> Callable[[], None] | None:
        """Let the random streams stand where they stood when this fixture was first set up for this test."""
        assert self.current is not None
        if not self.again:
            known = Wide(owner=self.current.item.nodeid, streams=self._streams())
            self._wide[fixturedef.argname, fixturedef.baseid] = known
            before = 0 if self.tally is None else self.tally.steps

            def note() -> None:
                known.trains = self.tally is not None and self.tally.steps > before

            return note
        wide = self.current.wide.get(fixturedef.argname)
        if wide is None or wide.streams is None or wide.owner == self.current.item.nodeid:
            return None  # then, too, what it drew was missing for what came after it
        back = self._streams()
        wide.streams()
        return back

    # -- the second pass -------------------------------------------------------------------

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtestloop(self) -> Generator[None, object, object]:
        try:
            result = yield
        except BaseException:
            self.found.note("no second pass: the run was stopped")
            raise
        if self.tally is not None and self._candidates:
            started = time.perf_counter()
            self._second_pass()
            self.found.seconds = time.perf_counter() - started
        return result

    def _second_pass(self) -> None:
        from pytest_trainstep._watch import restore

        from . import progress, quiet, second

        if not quiet.can_be_quiet(self._config):
            self.found.note("no second pass: this version of pytest or pluggy cannot run a test again in silence")
            return
        self.again = True
        shown = progress.Progress(self._config, len(self._candidates), len(self.found.faults))
        try:
            with restore.random_streams_kept(), quiet.undisturbed(self._config):
                second.run(self, self._candidates, shown)
        except KeyboardInterrupt:
            self.found.note(
                f"the second pass was interrupted after {len(self.found.tests)} of {len(self._candidates)} tests"
            )
        finally:
            shown.end()
            self.again, self.current = False, None

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        for note in self.notes.drain():
            self.found.note(note)
        if hasattr(self._config, "workeroutput"):
            self._config.workeroutput[OUTPUT] = self.found.dumps()
