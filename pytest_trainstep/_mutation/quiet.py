"""Running tests again without a word: no report, no log line, no debugger, no effect on what the real run counts."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

import pytest

SPOKEN = frozenset(
    (
        "pytest_runtest_logstart",
        "pytest_runtest_logfinish",
        "pytest_runtest_logreport",
        "pytest_exception_interact",
        "pytest_warning_recorded",
        "pytest_assertion_pass",
    )
)
"""Hooks that only tell others what happened."""

SILENCED = ("pytest_cov", "pytest_timeout", "_pytest.faulthandler", "_pytest.setuponly", "_pytest.setupplan")
"""Plugins that measure, print, or end the process of a test that takes long: we have an alarm of our own."""

RUNNER = "runner"
PHASES = ("pytest_runtest_setup", "pytest_runtest_call", "pytest_runtest_teardown")


def can_be_quiet(config: pytest.Config) -> bool:
    """Tell whether this pluggy and this pytest can be kept quiet and run a test again."""
    manager = config.pluginmanager
    return hasattr(manager, "_inner_hookexec") and hasattr(manager.get_plugin(RUNNER), "pytest_runtest_protocol")


class Quiet:
    """Stands between every hook and those who listen to it.

    Hook callers of conftest files and of subtests differ from those of the session, and all end in one function of the
    plugin manager. It is private; pluggy's own tracing replaces it as we do.
    """

    def __init__(self, config: pytest.Config, leave_out: Sequence[str]) -> None:
        self.reports: list[pytest.TestReport] = []
        self.in_a_phase = 0
        self._manager: Any = config.pluginmanager
        self._left_out = [plugin for plugin in map(self._manager.get_plugin, leave_out) if plugin is not None]
        self._runner = self._manager.get_plugin(RUNNER)
        self._original: Any = None

    def __enter__(self) -> Self:
        self._original = self._manager._inner_hookexec  # noqa: SLF001 - see the class
        self._manager._inner_hookexec = self._call  # noqa: SLF001
        return self

    def __exit__(self, *_: object) -> None:
        self._manager._inner_hookexec = self._original  # noqa: SLF001

    def _call(self, name: str, methods: Sequence[Any], kwargs: Any, firstresult: bool) -> Any:  # noqa: FBT001, ANN401 - as pluggy has it
        if name in SPOKEN:
            if name == "pytest_runtest_logreport":
                self.reports.append(kwargs["report"])
            return []
        kept = [method for method in methods if self._may_listen(method, name)]
        if name not in PHASES:
            return self._original(name, kept, kwargs, firstresult)
        self.in_a_phase += 1
        try:
            return self._original(name, kept, kwargs, firstresult)
        finally:
            self.in_a_phase -= 1

    def _may_listen(self, method: Any, name: str) -> bool:  # noqa: ANN401 (pluggy's)
        plugin = method.plugin
        if any(plugin is other for other in self._left_out):
            return False
        if name == "pytest_runtest_protocol" and not (method.wrapper or method.hookwrapper):
            return plugin is self._runner  # not those who run a test more than once, or elsewhere
        module = getattr(plugin, "__name__", None) or type(plugin).__module__
        return not module.startswith(SILENCED)


@contextlib.contextmanager
def undisturbed(config: pytest.Config) -> Iterator[None]:
    """Keep measuring, live logs, printing and recordings out of the body, and put them back."""
    undo: list[Callable[[], object]] = [_pause_coverage(), _keep_subtests(config)]
    log: Any = config.pluginmanager.get_plugin("logging-plugin")
    recordings = config.pluginmanager.get_plugin("trainstep-recordings")
    for owner, name, value in (
        (log, "log_cli_level", sys.maxsize),
        (log, "log_file_level", sys.maxsize),
        (recordings, "mode", "none"),
        (config.option, "setupshow", False),
    ):
        if hasattr(owner, name):
            undo.append(_set(owner, name, value))
    try:
        with contextlib.ExitStack() as stack:
            if config.getoption("capture", None) == "no":  # with -s, what a test prints would be read five times
                nowhere = stack.enter_context(open(os.devnull, "w"))  # noqa: PTH123 - not a path
                stack.enter_context(contextlib.redirect_stdout(nowhere))
                stack.enter_context(contextlib.redirect_stderr(nowhere))
            yield
    finally:
        for step in reversed(undo):
            step()


def _set(owner: Any, name: str, value: object) -> Callable[[], None]:  # noqa: ANN401 (whatever has that attribute)
    before = getattr(owner, name)
    setattr(owner, name, value)
    return lambda: setattr(owner, name, before)


def _keep_subtests(config: pytest.Config) -> Callable[[], object]:
    """Note how many subtests failed in each test: pytest asks again when it sums up."""
    key = getattr(config.pluginmanager.get_plugin("subtests"), "failed_subtests_key", None)
    counts: dict[Any, int] | None = None if key is None else config.stash.get(key, None)
    if counts is None:
        return lambda: None
    before = dict(counts)

    def restore() -> None:
        counts.clear()
        counts.update(before)

    return restore


def _pause_coverage() -> Callable[[], object]:
    """Stop a measurement that is going on: `coverage run -m pytest`; pytest-cov's own has ended by now."""
    coverage: Any = sys.modules.get("coverage")
    measuring = coverage.Coverage.current() if hasattr(coverage, "Coverage") else None
    if measuring is None or not getattr(measuring, "_started", False):
        return lambda: None
    measuring.stop()

    def go_on() -> None:
        # It would look for modules that were imported too early, and stumble over torch.ops.
        looks = getattr(measuring, "_warn_preimported_source", None)
        measuring._warn_preimported_source = False  # noqa: SLF001 - no option says it
        measuring.start()
        measuring._warn_preimported_source = looks  # noqa: SLF001

    return go_on
