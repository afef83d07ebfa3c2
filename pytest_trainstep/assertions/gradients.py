"""Three claims about gradients and numbers: gradients flow, they are fresh, everything stays finite."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pytest_trainstep._errors import GradientsNotFlowing, GradientsNotFresh, StepNotFinite
from pytest_trainstep._record import StepRecord
from pytest_trainstep._watch import rerun as closer
from pytest_trainstep._watch.arrivals import Arrivals
from pytest_trainstep._watch.finiteness import Finiteness
from pytest_trainstep._watch.uses import Uses

from . import verdicts
from .following import follow
from .weights import steps_of


def assert_gradients_flow(
    model: Any,
    step_fn: Callable[[], object],
    *,
    steps: int | None = None,
    only: Sequence[str] | None = None,
    unused: Sequence[str] = (),
    msg: str | None = None,
    rerun: bool = True,
) -> StepRecord:
    """Every trainable parameter of `model` receives a gradient that is not exactly zero when `step_fn` runs.

    Gradients are seen as they arrive, so it does not matter who uses, clips or clears them afterwards.

    Args:
        model: A `torch.nn.Module`, or a mapping of names to modules.
        step_fn: The user's own step: called without arguments, may return anything.
        steps: How often it is called; one arrival is enough. Default: the marker's, else
            `--trainstep-steps`, else the ini file's, else 1.
        only: Patterns (as in `fnmatch`) of the parameters to judge, whatever their `requires_grad`.
        unused: Patterns of the parameters that may stay without gradient.
        msg: Text of your own, printed below the message.
        rerun: Whether a failed claim may run `step_fn` once more to look closer; weights, buffers,
            optimizers, gradients and random streams are put back afterwards.

    Returns:
        The record of everything that was seen: `record.parameters["fc.weight"].flowed`.

    Raises:
        GradientsNotFlowing: With `.finding`: the cause for each parameter that received nothing.
        TrainStepUsageError: The arguments make no sense; `.args[0]` says which one.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(2, 1)
        >>> record = assert_gradients_flow(model, lambda: model(torch.ones(1, 2)).sum().backward())
        >>> record.parameters["weight"].flowed
        True
    """
    __tracebackhide__ = True
    count = steps_of(step_fn, steps, default=1)
    session, closing, record = follow(model, step_fn, count, [Arrivals])
    failed, judged = verdicts.not_flowing(record, only=only, unused=unused)
    if failed and rerun:
        record = closer.look_closer(session, closing.optimizers(), step_fn, record)
        failed = [record.parameters[row.name] for row in failed]
    finding = verdicts.gradients_flow(failed, judged, record, msg=msg)
    if finding is not None:
        raise GradientsNotFlowing(finding)
    return record


def assert_gradients_fresh(
    model: Any,
    step_fn: Callable[[], object],
    *,
    steps: int | None = None,
    kept: Sequence[str] = (),
    varying_windows: bool = False,
    msg: str | None = None,
) -> StepRecord:
    """No optimizer step uses gradients left over from before.

    Left over are gradients that an earlier step has used, that validation or another optimizer's loss has left
    behind, or that an unfinished accumulation window has carried into the next call. Accumulation windows of
    one constant length are legitimate, also across calls, and so is a shorter one at the end of a call.

    Args:
        model: A `torch.nn.Module`, or a mapping of names to modules.
        step_fn: The user's own step: called without arguments, may return anything.
        steps: How often it is called. Default: the marker's, else `--trainstep-steps`, else the ini file's, else 2.
        kept: Patterns (as in `fnmatch`) of the parameters whose gradients are kept on purpose.
        varying_windows: Accumulation windows may grow from call to call.
        msg: Text of your own, printed below the message.

    Returns:
        The record of everything that was seen.

    Raises:
        GradientsNotFresh: With `.finding`: what was left over, in which step, and why.
        TrainStepUsageError: The arguments make no sense; `.args[0]` says which one.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> def step():
        ...     model(torch.ones(1, 2)).sum().backward()
        ...     optimizer.step()
        >>> try:
        ...     assert_gradients_fresh(model, step)
        ... except AssertionError as error:
        ...     error.finding.causes
        ('gradients-not-cleared',)
    """
    __tracebackhide__ = True
    count = steps_of(step_fn, steps, default=2)
    record = follow(model, step_fn, count, [Uses]).record
    finding = verdicts.gradients_fresh(record, kept=kept, varying=varying_windows, msg=msg)
    if finding is not None:
        raise GradientsNotFresh(finding)
    return record


def assert_step_finite(
    model: Any,
    step_fn: Callable[[], object],
    *,
    steps: int | None = None,
    gradients: bool = True,
    msg: str | None = None,
) -> StepRecord:
    """The loss, the gradients and the weights of `model` stay finite when `step_fn` runs.

    Gradients count when an optimizer step uses them or when they are left at the end; a step that a
    `GradScaler` skips, and gradients that the program itself throws away or mends, are legitimate.

    Args:
        model: A `torch.nn.Module`, or a mapping of names to modules.
        step_fn: The user's own step: called without arguments, may return anything.
        steps: How often it is called. Default: the marker's, else `--trainstep-steps`, else the ini file's, else 1.
        gradients: Whether gradients are judged too.
        msg: Text of your own, printed below the message.

    Returns:
        The record of everything that was seen.

    Raises:
        StepNotFinite: With `.finding`: what was not finite first, and the operation that made it so.
        TrainStepUsageError: The arguments make no sense; `.args[0]` says which one.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> def step():
        ...     optimizer.zero_grad()
        ...     model(torch.ones(1, 2)).sum().mul(0).log().backward()  # log(0)
        ...     optimizer.step()
        >>> try:
        ...     assert_step_finite(model, step)
        ... except AssertionError as error:
        ...     error.finding.causes
        ('loss-not-finite',)
    """
    __tracebackhide__ = True
    count = steps_of(step_fn, steps, default=1)
    record = follow(model, step_fn, count, [Finiteness]).record
    finding = verdicts.step_finite(record, gradients=gradients, msg=msg)
    if finding is not None:
        raise StepNotFinite(finding)
    return record
