"""What runs in the process of the tests: tells the ear which test is running, and puts what it heard on the report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_trainstep import _settings, _torch_import
from pytest_trainstep._heard import Subject
from pytest_trainstep._report import verdicts

from .fixtures import Fixtures
from .guard import Notes

if TYPE_CHECKING:
    from collections.abc import Generator

    from pytest_trainstep._diagnose.audit import Verdict
    from pytest_trainstep._watch.overhear import Overhearer

    from . import Asked

FIELD = "trainstep_audit"
"""The attribute of a teardown report that carries what was heard: kind, id and a line of JSON for each subject."""

NOTES = "trainstep_audit_notes"
"""Where a worker leaves the notes that no report has taken along."""


class Listener:
    """Hooks around each test. It never imports torch: the ear is attached when somebody else does."""

    def __init__(self, config: pytest.Config, asked: Asked) -> None:
        self.notes = Notes()
        self._config = config
        self._fails = asked.mode == "fail"
        self._extras = bool(config.getoption("htmlpath", None))  # of pytest-html
        self._pictures = self._extras or any(path.suffix in (".html", ".json") for path in asked.paths)
        self._properties = bool(config.getoption("xmlpath", None))
        self._ear: Overhearer | None = None
        self._open: list[Subject] = []
        self._fixtures: list[Subject] = []
        self._names = Fixtures()
        self._attempts = 0
        self._outcome = ""
        self._forget = _torch_import.when_torch_is_imported(self._torch_arrived)

    def _torch_arrived(self) -> None:
        from pytest_trainstep._watch.overhear import Overhearer

        with self.notes.guard("attach"):
            self._ear = self._ear or Overhearer(pictures=self._pictures)
            self._ear.install()
            for subject in self._open:
                self._ear.open(subject)

    def pytest_sessionfinish(self) -> None:
        if hasattr(self._config, "workeroutput"):
            self._config.workeroutput[NOTES] = self.notes.drain()

    def pytest_unconfigure(self) -> None:
        with self.notes.guard("unconfigure"):
            self._forget()
            if self._ear is not None:
                self._ear.remove()

    # -- what runs -------------------------------------------------------------------------

    def _begin(self, subject: Subject) -> None:
        self._open.append(subject)
        if self._ear is not None:
            self._ear.open(subject)

    def _end(self) -> Subject:
        subject = self._open.pop()
        return subject if self._ear is None else self._ear.close(subject)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self) -> Generator[None, object, object]:
        __tracebackhide__ = True
        self._attempts = 0
        try:
            return (yield)
        finally:
            for _ in tuple(self._open):  # a test that was stopped in the middle
                with self.notes.guard("protocol"):
                    self._end()
            self._open.clear()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, object, object]:
        __tracebackhide__ = True
        with self.notes.guard("setup"):
            self._attempts += 1
            self._outcome, self._fixtures = "passed", []
            drawn = bool(getattr(getattr(item, "obj", None), "is_hypothesis_test", False))
            self._begin(Subject(id=item.nodeid, at=place(item), attempts=self._attempts, drawn=drawn))
        return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
    ) -> Generator[None, object, object]:
        __tracebackhide__ = True
        wide = fixturedef.scope != "function"
        if not wide:
            return (yield)
        began = False
        with self.notes.guard("fixture setup"):
            self._begin(self._names.subject(fixturedef, request))
            began = True
        try:
            return (yield)
        finally:
            if began:
                with self.notes.guard("fixture setup"):
                    heard = self._end()
                    if heard.optimizers:
                        self._fixtures.append(heard)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        __tracebackhide__ = True
        result = yield
        if self._fails:
            error = None
            with self.notes.guard("call"):
                error = self._blame()
            if error is not None:
                from . import blame

                blame.at_the_line(error, item)
        return result

    def _blame(self) -> Verdict | None:
        """Return what fails this test, if something does."""
        if self._ear is None or _settings.current().audit == "off":
            return None
        heard = [self._ear.so_far(), *self._fixtures]
        found = [verdict for subject in heard if subject is not None for verdict in verdicts(subject)]
        return next((verdict for verdict in found if verdict.fails), None)

    # -- what is reported ------------------------------------------------------------------

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        heard: list[Subject] = []
        if call.when == "teardown":
            with self.notes.guard("teardown"):
                heard = self._heard(item, crashed=call.excinfo is not None)
        report = yield
        with self.notes.guard("report"):
            if call.when != "teardown":
                self._outcome = _worse(self._outcome, report)
            else:
                self._deliver(report, heard, item)
        return report

    def _heard(self, item: pytest.Item, *, crashed: bool) -> list[Subject]:
        if not self._open:
            return []
        subject = self._end()
        subject.outcome = "error" if crashed else self._outcome
        if _settings.current().audit == "off":
            subject.excuse = _settings.current().reason
        if self._properties and subject.optimizers:
            found = verdicts(subject)
            item.user_properties += [
                ("trainstep.audit.steps", subject.steps),
                ("trainstep.audit.noop_steps", sum(one.noop_steps for one in subject.optimizers)),
                ("trainstep.audit.causes", ", ".join(verdict.cause for verdict in found)),
            ]
        worth = subject.optimizers or subject.notes or subject.excuse is not None
        return [*([subject] if worth else []), *self._fixtures]

    def _deliver(self, report: pytest.TestReport, heard: list[Subject], item: pytest.Item) -> None:
        notes = self.notes.drain()
        if notes and not heard:
            heard = [Subject(id=item.nodeid, at=place(item), attempts=self._attempts)]
        if not heard:
            return
        heard[0].notes += notes
        setattr(report, FIELD, [(subject.kind, subject.id, subject.dumps()) for subject in heard])
        if self._fails or self._extras:
            self._consequences(report, heard)

    def _consequences(self, report: pytest.TestReport, heard: list[Subject]) -> None:
        found = [verdict for subject in heard if subject.excuse is None for verdict in verdicts(subject)]
        failing = [verdict for verdict in found if verdict.fails]
        if self._fails and failing and report.passed and heard[0].outcome == "passed":
            # what was trained in a fixture's teardown: the test itself is over
            report.outcome, report.longrepr = "failed", str(failing[0].finding)
        if found and self._extras:
            from pytest_trainstep._report import extras

            extras.add(report, heard)


def _worse(outcome: str, report: pytest.TestReport) -> str:
    if hasattr(report, "wasxfail"):
        return "xfailed" if report.skipped else "xpassed"
    if report.passed:
        return outcome
    if report.skipped:
        return "skipped"
    return "failed" if report.when == "call" else "error"


def place(item: pytest.Item) -> str:
    """Return `file:line` of a test."""
    path, line, _ = item.location
    return path if line is None else f"{path}:{line + 1}"
