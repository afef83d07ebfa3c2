"""The two claims about weights: they update, or they stand still."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from pytest_trainstep import _settings
from pytest_trainstep._errors import TrainStepUsageError
from pytest_trainstep._record import StepRecord
from pytest_trainstep._watch import rerun as closer

from . import judging
from .watching import open_session, run


def assert_weights_update(
    model: Any,
    step_fn: Callable[[], object],
    *,
    steps: int | None = None,
    only: Sequence[str] | None = None,
    frozen: Sequence[str] = (),
    min_update: float | None = None,
    params: Any = None,
    msg: str | None = None,
    rerun: bool = True,
) -> StepRecord:
    """Every trainable parameter of `model` changes when `step_fn` runs, by its gradient where it has one.

    Args:
        model: A `torch.nn.Module`, or a mapping of names to modules.
        step_fn: The user's own step: called without arguments, may return anything.
        steps: How often it is called; moving in one call is enough. Default: the marker's, else
            `--trainstep-steps`, else the ini file's, else 1.
        only: Patterns (as in `fnmatch`) of the parameters to judge, whatever their `requires_grad`.
        frozen: Patterns of the parameters that may stand still.
        min_update: Smallest accepted ratio of RMS change to RMS weight, over all calls together.
        params: For functional training: the tensors to judge by name (a mapping, or a callable that
            returns the present one); `model` may then be None.
        msg: Text of your own, printed below the message.
        rerun: Whether a failed claim may run `step_fn` once more to look closer; weights, buffers,
            optimizers, gradients and random streams are put back afterwards.

    Returns:
        The record of everything that was seen: `record.parameters["fc.weight"].update_ratio`.

    Raises:
        WeightsNotUpdated: With `.finding`: the cause for each parameter that did not change.
        TrainStepUsageError: The arguments make no sense; `.args[0]` says which one.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> def step():
        ...     optimizer.zero_grad()
        ...     model(torch.ones(1, 2)).sum().backward()
        ...     optimizer.step()
        >>> assert_weights_update(model, step).step_count
        1
    """
    __tracebackhide__ = True
    count = steps_of(step_fn, steps, default=1)
    session = open_session(model if params is None else None, params)
    record, closing, returned = run(session, step_fn, count)
    failed, _ = judging.failing(record, only=only, frozen=frozen, min_update=min_update)
    if failed and closer.non_finite_return(returned):
        record = _with_bad_loss(record)
    returned.clear()
    if failed and rerun:
        record = closer.look_closer(session, closing.optimizers(), step_fn, record)
    return judging.weights_update(record, only=only, frozen=frozen, min_update=min_update, msg=msg)


def _with_bad_loss(record: StepRecord) -> StepRecord:
    rows = {
        name: dataclasses.replace(row, evidence=dataclasses.replace(row.evidence, non_finite_loss=True))
        for name, row in record.parameters.items()
    }
    return dataclasses.replace(record, parameters=rows)


def assert_weights_frozen(
    model: Any,
    step_fn: Callable[[], object],
    *,
    steps: int | None = None,
    only: Sequence[str] | None = None,
    buffers: bool = False,
    params: Any = None,
    msg: str | None = None,
) -> StepRecord:
    """The frozen parameters of `model` are bit for bit the same after `step_fn` has run.

    Args:
        model: A `torch.nn.Module`, or a mapping of names to modules.
        step_fn: The user's own step: called without arguments, may return anything.
        steps: How often it is called. Default as in `assert_weights_update`.
        only: Patterns of what must stand still; without it, the parameters with `requires_grad=False`.
        buffers: Whether buffers (running statistics) must stand still too.
        params: As in `assert_weights_update`.
        msg: Text of your own, printed below the message.

    Returns:
        The record of everything that was seen.

    Raises:
        WeightsNotFrozen: With `.finding`: what moved which parameter.
        TrainStepUsageError: The arguments make no sense, or nothing is frozen.

    Example:
        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.Linear(2, 2).requires_grad_(False), torch.nn.Linear(2, 1))
        >>> optimizer = torch.optim.SGD(model[1].parameters(), lr=0.1)
        >>> def step():
        ...     model(torch.ones(1, 2)).sum().backward()
        ...     optimizer.step()
        >>> record = assert_weights_frozen(model, step)
        >>> record.parameters["0.weight"].moved
        False
    """
    __tracebackhide__ = True
    count = steps_of(step_fn, steps, default=1)
    session = open_session(model if params is None else None, params, buffers=buffers)
    record, _, returned = run(session, step_fn, count)
    returned.clear()
    return judging.weights_frozen(record, only=only, buffers=buffers, msg=msg)


_LAZY = {
    "a generator function (it has a yield)": inspect.isgeneratorfunction,
    "an async function": inspect.iscoroutinefunction,
    "an async generator function": inspect.isasyncgenfunction,
}


def steps_of(step_fn: object, steps: object, *, default: int, what: str = "step_fn") -> int:
    """Check `step_fn` and settle how often it runs.

    Raises:
        TrainStepUsageError: It is not callable; `steps` is not a whole number above 0.
    """
    if not callable(step_fn):
        msg = f"{what} must be callable without arguments, not {type(step_fn).__name__}: pass the function, not its result"
        raise TrainStepUsageError(msg)
    lazy = next((word for word, is_one in _LAZY.items() if is_one(step_fn)), None)
    if lazy is not None:
        msg = f"step_fn must run when it is called, but calling {lazy} runs nothing: wrap it in a function that runs it"
        raise TrainStepUsageError(msg)
    if steps is None:
        steps = _settings.current().steps
    if steps is None:
        return default
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        msg = f"steps must be a whole number above 0, not {steps!r}"
        raise TrainStepUsageError(msg)
    return steps
