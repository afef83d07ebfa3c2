"""The face: what pytest sees. It imports no torch; a feature's class is registered only when it is asked for."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from pytest_trainstep import _audit, _devices, _mutation, _options, _recording, _seeding, _settings, _torch_import
from pytest_trainstep._namespace import TrainStep

if TYPE_CHECKING:
    from collections.abc import Generator

    import torch

    from pytest_trainstep._recording.fixture import Recording

_ASKED = pytest.StashKey[_options.Asked]()
_RECORDING = pytest.StashKey[_recording.RecordingSession]()
_FORGET_TORCH = pytest.StashKey[Callable[[], bool]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    _options.declare(parser)
    _audit.declare(parser)
    _mutation.declare(parser)
    _recording.declare(parser)
    parser.getgroup("trainstep").addoption(
        "--trainstep-explain",
        nargs="?",
        const="",
        default=None,
        metavar="CAUSE",
        help="explain a cause that a message named, and exit; without a name list them all",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    name = config.getoption("trainstep_explain")
    if name is None:
        return None
    from pytest_trainstep import _explain

    sys.stdout.write(_explain.explain(name).rstrip() + "\n")
    return pytest.ExitCode.OK


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", _options.MARKER_HELP)
    config.stash[_ASKED] = _options.asked(config)
    config.stash[_FORGET_TORCH] = _torch_import.when_torch_is_imported(_torch_arrived)
    _audit.register(config)
    _mutation.register(config)
    config.stash[_RECORDING] = recordings = _recording.RecordingSession(config)
    config.pluginmanager.register(recordings, "trainstep-recordings")


def pytest_unconfigure(config: pytest.Config) -> None:
    forget = config.stash.get(_FORGET_TORCH, None)  # absent when pytest_configure ended in a usage error
    if forget is not None and forget():
        # Asked and not imported: where torch never came, the recorder never did either.
        origins = sys.modules.get("pytest_trainstep._watch.origins")
        if origins is not None:
            origins.remove()


def _torch_arrived() -> None:
    seed = _settings.current().seed
    if seed is not None:  # a test that imports torch in its body wants its seed as well
        _seeding.seed_torch(seed)
    from pytest_trainstep._watch import origins

    origins.install()


def pytest_report_header(config: pytest.Config) -> str | None:
    asked = config.stash[_ASKED]
    if config.get_verbosity() <= 0 and not asked.anything:
        return None
    seed = "no seed" if asked.settings.seed is None else f"seed {asked.settings.seed}"
    return f"trainstep: torch {_torch_version()}, device {' '.join(asked.devices)}, {seed}"


def _torch_version() -> str:
    from importlib import metadata

    try:
        return metadata.version("torch")
    except metadata.PackageNotFoundError:
        return "not installed"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _torch_import.notes:
        terminalreporter.section("trainstep")
        for note in dict.fromkeys(_torch_import.notes):
            terminalreporter.line(note)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    try:
        for node in report.result or ():
            if isinstance(node, pytest.Item):
                _wishes(node)
    except pytest.UsageError as error:
        if not hasattr(collector.config, "workerinput"):
            raise
        # A worker that stops is taken for one that crashed: there, the module is what fails.
        report.outcome, report.longrepr = "failed", str(error)
    return report


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    taken = {name for mark in metafunc.definition.iter_markers("parametrize") for name in _argnames(mark)}
    wanted = set(metafunc.fixturenames) - taken
    asked = metafunc.config.stash[_ASKED]
    if "trainstep_device" in wanted:
        devices = _devices.expand(asked.devices)
        if len(devices) > 1:
            metafunc.parametrize("trainstep_device", devices, indirect=True, scope="session")
    if "trainstep_seed" in wanted:
        with contextlib.suppress(pytest.UsageError):  # said when the module has been collected
            seed = _wishes(metafunc.definition).seed
            if seed != asked.settings.seed:
                # The fixture is of the session and the marker of the test: a parameter carries one into the other.
                metafunc.parametrize(
                    "trainstep_seed", [seed], ids=[pytest.HIDDEN_PARAM], indirect=True, scope="session"
                )


def _argnames(mark: pytest.Mark) -> list[str]:
    names = mark.args[0] if mark.args else mark.kwargs.get("argnames", ())
    return [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    _torch_import.look()
    with _settings.using(_wishes(item)):
        return (yield)


def _wishes(item: pytest.Item) -> _settings.Settings:
    return _options.marked(item, item.config.stash[_ASKED].settings)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    _seed_if_asked()  # fixtures build models


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call() -> None:
    _seed_if_asked()  # and the test's own numbers do not depend on how many of them its fixtures drew


def _seed_if_asked() -> None:
    seed = _settings.current().seed
    if seed is not None:
        _seeding.seed_streams(seed)


@pytest.fixture(scope="session")
def trainstep() -> TrainStep:
    """Every training-step assertion, and ``watch``, without an import.

    For example::

        def test_training_updates_the_weights(trainstep):
            trainstep.assert_weights_update(model, lambda: train_step(model, optimizer, batch))
    """
    return TrainStep()


@pytest.fixture(scope="session")
def trainstep_recording(request: pytest.FixtureRequest) -> Recording:
    """Regression tests of training itself: compare a seeded run with its recording beside the test.

    For example::

        def test_training_is_what_it_was(trainstep_recording):
            trainstep_recording.check(model, lambda: train_step(model, optimizer, batch), steps=5)
    """
    from pytest_trainstep._recording.fixture import Recording

    return Recording(request.config.stash[_RECORDING])


@pytest.fixture(scope="session")
def trainstep_device(request: pytest.FixtureRequest) -> torch.device:
    """The ``torch.device`` to train on: the cpu, or what ``--trainstep-device`` names.

    With several devices the test runs once on each; one that this machine does not have is skipped. For example::

        def test_it_trains_on_every_device(trainstep_device):
            model = make_model().to(trainstep_device)
    """
    asked = request.config.stash[_ASKED].devices
    return _devices.resolve(getattr(request, "param", None) or _devices.expand(asked)[0])


@pytest.fixture(scope="session")
def trainstep_seed(request: pytest.FixtureRequest) -> int:
    """The seed of this test: the marker's, else ``--trainstep-seed``, else 0.

    For example::

        def test_data_loading_is_repeatable(trainstep_seed):
            generator = torch.Generator().manual_seed(trainstep_seed)
    """
    seed: int | None = getattr(request, "param", request.config.stash[_ASKED].settings.seed)
    return 0 if seed is None else seed
