"""The claims about a loss: one batch can be learned, it falls, it starts where chance puts it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from pytest_trainstep._diagnose import course as courses
from pytest_trainstep._diagnose import starting
from pytest_trainstep._diagnose.because import number, plural
from pytest_trainstep._errors import BatchNotOverfitted, LossNotFalling, LossStartsElsewhere, TrainStepUsageError
from pytest_trainstep._record import StepRecord
from pytest_trainstep._watch import losses, naming, warmup

from .training import Training
from .weights import steps_of

_NOISY = 2.0  # standard deviations of the noise that a fall must exceed
_FEWEST = 8  # measurements from which the noise can be told


def assert_batch_overfits(
    model: Any,
    step_fn: Callable[[], object],
    *,
    steps: int | None,
    below: float,
    loss_fn: Callable[[], Any] | None = None,
    msg: str | None = None,
    rerun: bool = True,
) -> StepRecord:
    """A fixed batch can be learned: after `steps` calls of `step_fn` its loss is below `below`.

    The end is judged, by the median over the last tenth of the steps (ten at most); what the loss does on the way
    there does not matter.

    Args:
        model: A `torch.nn.Module`, or a mapping of names to modules.
        step_fn: The user's own step. The loss is what it returns (a scalar tensor, a float, a mapping with `loss`, an
            object with `.loss`), else the value that backward started from.
        steps: How often it is called.
        below: The loss that must be reached. Mind the floor of the loss: label smoothing and noise keep it above 0.
        loss_fn: Called without arguments, returns the loss of the batch; then this decides. It runs in the modes that
            it finds (dropout stays on unless it says otherwise); weights, buffers, gradients and random streams are
            put back. The last value counts as well as the median.
        msg: Text of your own, printed below the message.
        rerun: Whether a failed claim may run the step once more to look at the call of the loss; everything is put
            back afterwards.

    Returns:
        The record of what was seen; `record.losses` are the measured losses.

    Raises:
        BatchNotOverfitted: With `.finding`: the curve, and what kept the loss up.
        TrainStepUsageError: The arguments make no sense, or no loss can be read.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
        >>> x = torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
        >>> def step():
        ...     optimizer.zero_grad()
        ...     loss = torch.nn.functional.mse_loss(model(x), x.sum(1, keepdim=True))
        ...     loss.backward()
        ...     optimizer.step()
        ...     return loss
        >>> record = assert_batch_overfits(model, step, steps=100, below=0.01)
        >>> len(record.losses)
        100
    """
    __tracebackhide__ = True
    _check_number("below", below)
    training = Training(model, step_fn, steps_of(step_fn, steps, default=100), loss_fn)
    training.run()
    end = training.end()
    if end < below:
        return training.record()
    course, reasons = training.explain(end, below, rerun=rerun)
    raise BatchNotOverfitted(
        courses.finding(
            f"the loss is {number(end) if math.isfinite(end) else end} after {plural(training.steps, 'step')}, and should be below {number(below)}",
            course,
            reasons,
            limit=("below", number(below)),
            on_purpose="pass a higher below= if the loss has a floor, or a larger steps=",
            msg=msg,
        )
    )


def assert_loss_falls(
    model: Any,
    step_fn: Callable[[], object],
    *,
    steps: int | None,
    by: float,
    loss_fn: Callable[[], Any] | None = None,
    msg: str | None = None,
    rerun: bool = True,
) -> StepRecord:
    """The loss falls by the fraction `by` over `steps` calls of `step_fn`.

    With `start` the first loss or the median over the first fifth of the steps, whichever is higher, and `end` the
    median over the last fifth (twenty at most): `start - end >= by * |start|`. From eight measurements on the fall
    must also exceed twice the noise: the median absolute second difference over 0.6745 * sqrt(6), which is the
    standard deviation of independent normal noise around a straight line.

    Args:
        model: A `torch.nn.Module`, or a mapping of names to modules.
        step_fn: The user's own step; where the loss comes from is said at `assert_batch_overfits`.
        steps: How often it is called, 2 at least.
        by: The fraction of the first loss, such as 0.5 for a half; more than 1 makes sense for losses that may be
            negative.
        loss_fn: As in `assert_batch_overfits`.
        msg: Text of your own, printed below the message.
        rerun: As in `assert_batch_overfits`.

    Returns:
        The record of what was seen; `record.losses` are the measured losses.

    Raises:
        LossNotFalling: With `.finding`: the curve, and what kept the loss up.
        TrainStepUsageError: The arguments make no sense, or no loss can be read.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> def step():
        ...     optimizer.zero_grad()
        ...     loss = (model(torch.ones(1, 2)) - 3).square().sum()
        ...     loss.backward()
        ...     optimizer.step()
        ...     return loss
        >>> record = assert_loss_falls(model, step, steps=10, by=0.5)
    """
    __tracebackhide__ = True
    _check_number("by", by)
    count = steps_of(step_fn, steps, default=10)
    if by <= 0 or count < 2:  # noqa: PLR2004
        msg = f"by must be above 0 and steps 2 or more, not by={by!r}, steps={count}"
        raise TrainStepUsageError(msg)
    training = Training(model, step_fn, count, loss_fn, start=True)
    training.run()
    start, end = training.start(), training.end(fifth=True)
    noise = training.noise() if len(training.losses) >= _FEWEST else 0.0
    fall, wanted = start - end, by * abs(start)
    if fall >= wanted and fall > _NOISY * noise:
        return training.record()
    course, reasons = training.explain(end, start - wanted, rerun=rerun)
    drowned = fall >= wanted
    why = f"no more than its noise ({number(noise)} from step to step)" if drowned else f"and should fall by {by:.0%}"
    raise LossNotFalling(
        courses.finding(
            f"the loss went from {_word(start)} to {_word(end)} in {plural(count, 'step')}, {why}",
            course,
            reasons,
            limit=("wanted", number(start - wanted) if math.isfinite(start) else "-"),
            on_purpose="pass a smaller by=, a larger steps=, or loss_fn= that measures the loss of a fixed batch",
            msg=msg,
        )
    )


def assert_loss_starts_at(
    model: Any, loss_fn: Callable[[], Any], *, expected: float, rtol: float, msg: str | None = None
) -> float:
    """The loss of the untrained model is what chance predicts: `|loss - expected| <= rtol * |expected|`.

    For C balanced classes and cross entropy chance gives ln C: with uniform predictions every true class has the
    probability 1/C. For standardised targets and the mean squared error it gives 1, the variance of the targets.

    Args:
        model: A `torch.nn.Module`, or a mapping of names to modules.
        loss_fn: Called without arguments, returns the loss of a batch. It runs in the modes that it finds; weights,
            buffers, gradients and random streams are put back.
        expected: The loss that chance gives.
        rtol: The accepted deviation, relative to `expected`.
        msg: Text of your own, printed below the message.

    Returns:
        The loss.

    Raises:
        LossStartsElsewhere: With `.finding`: what the deviation comes from, where the numbers tell.
        TrainStepUsageError: The arguments make no sense, or `loss_fn` returns no number.

    Example:
        >>> import math, torch
        >>> model = torch.nn.Linear(4, 10)
        >>> x, y = torch.randn(200, 4), torch.arange(200) % 10
        >>> loss = assert_loss_starts_at(
        ...     model, lambda: torch.nn.functional.cross_entropy(model(x), y), expected=math.log(10), rtol=0.2
        ... )
    """
    __tracebackhide__ = True
    _check_number("expected", expected)
    _check_number("rtol", rtol)
    if rtol < 0 or expected == 0:
        text = f"rtol must not be negative, and is relative to expected, which must not be 0: expected={expected!r}, rtol={rtol!r}"
        raise TrainStepUsageError(text)
    modules = naming.modules_of(model)
    warmup.warm_up()
    with losses.looked_at() as facts:
        loss = losses.undisturbed(modules, lambda: losses.asked(loss_fn))
    if abs(loss - expected) <= rtol * abs(expected):
        return float(loss)
    course = courses.Course(
        losses=(loss,),
        end=loss,
        expected=expected,
        rtol=rtol,
        calls=tuple(courses.LossCall(**one) for one in facts),
    )
    reason = courses.first_reason(course, starting.RULES) or courses.unexplained(course)
    raise LossStartsElsewhere(
        courses.finding(
            f"the loss starts at {_word(loss)}, and chance predicts {number(expected)} (rtol {number(rtol)})",
            course,
            [reason],
            limit=("expected", number(expected)),
            on_purpose="pass the expected= of a model that knows something already, or a larger rtol=",
            msg=msg,
        )
    )


def _check_number(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        msg = f"{name} must be a finite number, not {value!r}"
        raise TrainStepUsageError(msg)


def _word(value: float) -> str:
    return number(value) if math.isfinite(value) else str(value)
