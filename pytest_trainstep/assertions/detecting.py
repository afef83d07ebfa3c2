"""The negative control: a test of training fails when training does nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from pytest_trainstep._diagnose import planting
from pytest_trainstep._errors import FaultNotDetected, TrainStepUsageError
from pytest_trainstep._faults import FAULTS, SCORED
from pytest_trainstep._planted import KILLED, NOT_APPLICABLE, SURVIVED, Cell, Planted
from pytest_trainstep._watch import callers, faults, restore, warmup
from pytest_trainstep._watch.tally import Starts, Stopped, Tally, most_steps

_FAILURES = (Exception, pytest.fail.Exception, Stopped)


def assert_detects(
    test_callable: Callable[[], object], *, faults: Sequence[str] = SCORED, msg: str | None = None
) -> None:
    """A test of training fails when one fault is planted into the training that it does.

    The test runs once as it is, and once with each fault, each time from the same weights and random numbers. With a
    fault it must fail, in whatever way: an assertion, an exception, `pytest.fail`. A fault that makes no difference in
    it (a learning rate that is 0 anyway) does not count. A training that does not end is stopped after ten times as
    many optimizer steps as without a fault, and a hundred more; that counts as a failure.

    Afterwards the random streams, and the weights and the state of every optimizer that was stepped, are as they were
    found. What else outlives the test (buffers, counters, files) is its own affair: build the model inside it.

    Args:
        test_callable: The test: called without arguments, fails by an exception. For one with arguments, a lambda.
        faults: Which to plant, by name: any of "noop-step", "noop-backward", "zero-lr" (these three by default),
            "stale-gradients", "flipped-gradient", "partial-step", "detached-loss".
        msg: Text of your own, printed below the message.

    Raises:
        FaultNotDetected: With `.finding`: the faults with which the test stayed green, and what to add to it.
        TrainStepUsageError: The arguments make no sense, no optimizer was stepped, or the test does not give the same
            result twice.

    Example:
        >>> import torch
        >>> def training_moves_the_weight():
        ...     model = torch.nn.Linear(2, 1)
        ...     before = model.weight.detach().clone()
        ...     optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        ...     model(torch.ones(4, 2)).sum().backward()
        ...     optimizer.step()
        ...     assert not torch.equal(model.weight, before)
        >>> assert_detects(training_moves_the_weight)
    """
    __tracebackhide__ = True
    chosen = _checked(test_callable, faults)
    warmup.warm_up()
    trial = _Trial(test_callable)
    with restore.random_streams_kept(), trial.counted():
        trial.control()  # what it raises is the test's own failure
        cells = {fault: trial.planted(fault) for fault in chosen}
    if all(cell.verdict == NOT_APPLICABLE for cell in cells.values()):
        raise TrainStepUsageError(
            f"none of {', '.join(chosen)} made a difference in {trial.name}: its optimizer steps change nothing anyway"
        )
    found = Planted(id=trial.name, place=trial.place, cells=cells)
    if found.survived():
        raise FaultNotDetected(planting.undetected(found, msg=msg))


def _checked(test_callable: object, faults: Sequence[str]) -> tuple[str, ...]:
    if not callable(test_callable):
        raise TrainStepUsageError(
            f"test_callable must be callable without arguments, not {type(test_callable).__name__}: pass the function,"
            " not its result"
        )
    chosen = (faults,) if isinstance(faults, str) else tuple(dict.fromkeys(faults))
    wrong = next((fault for fault in chosen if fault not in FAULTS), None)
    if wrong is not None or not chosen:
        given = "it is empty" if wrong is None else f"{wrong!r} is none"
        raise TrainStepUsageError(f"faults must name some of {', '.join(FAULTS)}; {given}")
    return chosen


class _Trial:
    """All runs of one test."""

    def __init__(self, test_callable: Callable[[], object]) -> None:
        self.name = getattr(test_callable, "__name__", type(test_callable).__name__)
        self.place = Planted(id=self.name).place
        self._test = test_callable
        self._tally = Tally()
        self._streams = restore.random_states()
        self._starts = self._tally.starts = Starts()
        self._steps = 0

    @contextmanager
    def counted(self) -> Iterator[None]:
        self._tally.install()
        try:
            yield
        finally:
            self._tally.remove()
            self._starts.restore()

    def control(self) -> None:
        self._tally.at_first = self._look
        self._test()
        self._steps = self._tally.steps
        if not self._steps:
            raise TrainStepUsageError(
                f"{self.name} stepped no optimizer, so there is nothing to plant a fault into; pass the test that trains"
            )

    def planted(self, fault: str) -> Cell:
        self._starts.restore()
        self._streams()
        self._tally.steps, self._tally.limit = 0, most_steps(self._steps)
        how = ""
        with faults.planted(fault) as planted:
            try:
                self._test()
            except pytest.skip.Exception:
                how = ""
            except _FAILURES as error:
                how = f"{type(error).__name__}: {error}"
        if planted.applied and (how or not planted.resisted):
            return Cell(verdict=KILLED if how else SURVIVED, how=how)
        if how:
            raise TrainStepUsageError(
                f"{self.name} failed with {fault}, which changed nothing in it: it does not give the same result twice"
                f" ({how.splitlines()[0]})"
            )
        return Cell(verdict=NOT_APPLICABLE)

    def _look(self, optimizer: Any) -> None:
        self.place = callers.place(optimizer, self.name)
