"""The check-up: every claim about a step that watching alone can judge, together or as one test for each."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pytest

from pytest_trainstep._diagnose import Finding, order
from pytest_trainstep._diagnose.finding import Reason, notes_of
from pytest_trainstep._errors import StepNotSound, TrainStepError, TrainStepUsageError, WeightsNotUpdated
from pytest_trainstep._record import ParameterRecord, StepRecord
from pytest_trainstep._watch import rerun as closer
from pytest_trainstep._watch.arrivals import Arrivals
from pytest_trainstep._watch.clipping import Clipping
from pytest_trainstep._watch.finiteness import Finiteness
from pytest_trainstep._watch.schedules import Schedules
from pytest_trainstep._watch.slopes import Slopes
from pytest_trainstep._watch.uses import Uses

from . import judging, verdicts
from .following import follow
from .weights import steps_of

CLAIMS = (
    "step-finite",
    "weights-update",
    "gradients-flow",
    "gradients-fresh",
    "gradients-used-once",
    "clipping-order",
    "scheduler-order",
    "update-downhill",
)
_FOLLOWED = ("clipping-order", "scheduler-order", "update-downhill")  # of these a plain record knows nothing
_STEPS = 3
_NOISE = 1e-6  # of the largest gradient: what rounding leaves where the true gradient is zero


class _Excuses(NamedTuple):
    only: Sequence[str] | None
    frozen: Sequence[str]
    unused: Sequence[str]


def assert_step_sound(
    model: Any,
    step_fn: Callable[[], object],
    *,
    steps: int | None = None,
    only: Sequence[str] | None = None,
    frozen: Sequence[str] = (),
    unused: Sequence[str] = (),
    skip: Mapping[str, str] | None = None,
    msg: str | None = None,
    rerun: bool = True,
) -> StepRecord:
    """Everything about a step that watching alone can judge is in order.

    The checks, by the names that `skip` takes: `step-finite`, `weights-update`, `gradients-flow` (of parameters
    that did not move), `gradients-fresh`, `gradients-used-once` (no gradient is used twice without a new backward
    pass), `clipping-order` (after backward and `unscale_`, before the step), `scheduler-order` (the scheduler steps
    after the optimizer), `update-downhill` (the first update of each optimizer goes against its gradient, unless it
    has `maximize` or a closure).

    Args:
        model: A `torch.nn.Module`, or a mapping of names to modules.
        step_fn: The user's own step: called without arguments, may return anything.
        steps: How often it is called. Default: the marker's, else `--trainstep-steps`, else the ini file's, else 3.
        only: Patterns (as in `fnmatch`) of the parameters that must be trained, whatever their `requires_grad`.
        frozen: Patterns of the parameters that may stand still.
        unused: Patterns of the parameters that may stay without gradient (and so may stand still).
        skip: Checks to leave out, each with the reason why.
        msg: Text of your own, printed below the message.
        rerun: Whether a failed check-up may run `step_fn` once more to look closer; weights, buffers,
            optimizers, gradients and random streams are put back afterwards.

    Returns:
        The record of everything that was seen.

    Raises:
        StepNotSound: With `.finding`: every check that found something, and the causes.
        TrainStepUsageError: The arguments make no sense; `.args[0]` says which one.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> def step():
        ...     optimizer.zero_grad()
        ...     model(torch.ones(1, 2)).sum().backward()
        ...     optimizer.step()
        >>> assert_step_sound(model, step).step_count
        3
    """
    __tracebackhide__ = True
    claims = _wanted(skip)
    excuses = _Excuses(only, frozen, unused)
    count = steps_of(step_fn, steps, default=_STEPS)
    record, found = _checked(model, step_fn, count, claims, excuses, rerun=rerun)
    if found:
        raise StepNotSound(_together(found, claims, record, msg))
    return record


def judge(
    record: StepRecord,
    *,
    frozen: Sequence[str],
    unused: Sequence[str],
    skip: Mapping[str, str] | None,
    msg: str | None,
) -> StepRecord:
    """Raise `StepNotSound` if a check for which the record suffices finds something."""
    __tracebackhide__ = True
    claims = [claim for claim in _wanted(skip) if claim not in _FOLLOWED]
    found = dict(_findings(record, claims, _Excuses(None, frozen, unused)))
    if found:
        raise StepNotSound(_together(found, claims, record, msg))
    return record


def _wanted(skip: Mapping[str, str] | None) -> tuple[str, ...]:
    _check_names("skip", skip or {})
    wanted = tuple(claim for claim in CLAIMS if claim not in (skip or {}))
    if not wanted:
        msg = "skip leaves nothing to check"
        raise TrainStepUsageError(msg)
    return wanted


def _check_names(argument: str, given: Any) -> None:
    if not isinstance(given, Mapping):  # what a test passes is not always what the type says
        msg = f"{argument} must map names of checks to reasons, not {type(given).__name__}"
        raise TrainStepUsageError(msg)
    for claim, reason in given.items():
        if claim not in CLAIMS:
            msg = f"{argument}: there is no check {claim!r}; the checks are {', '.join(CLAIMS)}"
            raise TrainStepUsageError(msg)
        if not isinstance(reason, str) or not reason.strip():
            msg = f"{argument}[{claim!r}] must say why, in words; got {reason!r}"
            raise TrainStepUsageError(msg)


def _checked(
    model: Any,
    step_fn: Callable[[], object],
    steps: int,
    claims: Collection[str],
    excuses: _Excuses,
    *,
    rerun: bool,
) -> tuple[StepRecord, dict[str, Finding]]:
    scouts = [Finiteness, Arrivals, Uses, Clipping, Schedules, Slopes]
    session, closing, record = follow(model, step_fn, steps, scouts)
    found = dict(_findings(record, claims, excuses))
    if rerun and ("weights-update" in found or "gradients-flow" in found):
        record = closer.look_closer(session, closing.optimizers(), step_fn, record)
        found = dict(_findings(record, claims, excuses))
    return record, found


# -- the checks --------------------------------------------------------------------------------


def _findings(record: StepRecord, claims: Collection[str], excuses: _Excuses) -> Iterator[tuple[str, Finding]]:
    answers = {
        "step-finite": lambda: verdicts.step_finite(record),
        "weights-update": lambda: _weights(record, excuses),
        "gradients-flow": lambda: _flow(record, excuses),
        "gradients-fresh": lambda: verdicts.gradients_fresh(record, reused=False),
        "gradients-used-once": lambda: verdicts.gradients_fresh(record, reused=True),
        "clipping-order": lambda: verdicts.slips(order.clipping(record), "clipping is out of place", record),
        "scheduler-order": lambda: verdicts.slips(order.scheduling(record), "a learning rate was never used", record),
        "update-downhill": lambda: verdicts.slips(order.direction(record), "the first update goes uphill", record),
    }
    broken = False
    for claim in claims:
        finding = answers[claim]()
        if finding is None or (broken and set(finding.causes) <= {"non-finite", "step-skipped"}):
            continue  # NaN that does not move is the same story told twice
        broken = broken or claim == "step-finite"
        yield claim, finding


def _weights(record: StepRecord, excuses: _Excuses) -> Finding | None:
    rows = [row for row in record.parameters.values() if not row.buffer]
    judging.check_patterns(rows, frozen=excuses.frozen, unused=excuses.unused)
    frozen = (*excuses.frozen, *excuses.unused, *_noise(rows))
    try:
        judging.weights_update(record, only=excuses.only, frozen=frozen, min_update=None, msg=None)
    except WeightsNotUpdated as error:
        return error.finding
    return None


def _noise(rows: Sequence[ParameterRecord]) -> list[str]:
    """Name what has no gradient but rounding errors: a bias in front of a softmax or a norm, trained by plain SGD."""
    largest = max((row.grad_max for row in rows if row.grad_max and math.isfinite(row.grad_max)), default=0.0)
    return [
        row.name.replace("[", "[[]")
        for row in rows
        if row.evidence.underflow and row.grad_max is not None and row.grad_max < _NOISE * largest
    ]


def _flow(record: StepRecord, excuses: _Excuses) -> Finding | None:
    """Parameters that move without a gradient are trained by other means."""
    unused = (*excuses.unused, *excuses.frozen)
    failed, judged = verdicts.not_flowing(record, only=excuses.only, unused=unused)
    return verdicts.gradients_flow([row for row in failed if not row.moved], judged, record)


# -- the finding -------------------------------------------------------------------------------


def _together(found: Mapping[str, Finding], claims: Sequence[str], record: StepRecord, msg: str | None) -> Finding:
    reasons: dict[str, Reason] = {}
    for finding in found.values():
        for reason in finding.reasons:
            reasons.setdefault(reason.cause, reason)
    parameters: dict[str, str] = {}
    for finding in found.values():
        for name, cause in finding.parameters.items():
            parameters.setdefault(name, cause)
    first = next(iter(found))
    return Finding(
        claim=f"{len(found)} of {len(claims)} checks of {record.calls} steps found something",
        causes=tuple(reasons),
        parameters=parameters,
        reasons=tuple(reasons.values()),
        columns=("check", "parameters", "causes"),
        rows=tuple((claim, str(len(one.parameters) or "-"), ", ".join(one.causes)) for claim, one in found.items()),
        on_purpose=_on_purpose(found) or f'pass skip={{"{first}": "the reason"}}',
        notes=notes_of(record, ()),
        msg=msg,
        record=record,
    )


def _on_purpose(found: Mapping[str, Finding]) -> str | None:
    """Where only single parameters are at fault, they can be named."""
    if set(found) <= {"weights-update", "gradients-flow"}:
        return next(iter(found.values())).on_purpose
    return None


# -- one test for each claim -------------------------------------------------------------------


def parametrize_with_step_checks(
    make: Callable[[], Any],
    *,
    expected: Mapping[str, str] | None = None,
    steps: int | None = None,
    frozen: Sequence[str] = (),
    unused: Sequence[str] = (),
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Turn one test function into one test for each check of `assert_step_sound`.

    The test takes one argument, `check`, and calls it; its tests are named after the checks:
    `test_step[gradients-fresh]`. Each of them calls `make` for a model and a step of its own.

    Args:
        make: Returns `(model, step_fn)`, or an object with `model` and `step`.
        expected: Checks that are known to find something, each with the reason why. The excuse is strict: the test
            fails when the check finds nothing any more.
        steps: As in `assert_step_sound`.
        frozen: As in `assert_step_sound`.
        unused: As in `assert_step_sound`.

    Returns:
        A decorator for the test function.

    Raises:
        TrainStepUsageError: `expected` names no check, or gives no reason; the function takes no argument.

    Example:
        >>> import torch
        >>> def make():
        ...     model = torch.nn.Linear(2, 1)
        ...     optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        ...     def step():
        ...         optimizer.zero_grad()
        ...         model(torch.ones(1, 2)).sum().backward()
        ...         optimizer.step()
        ...     return model, step
        >>> @parametrize_with_step_checks(make)
        ... def test_step(check):
        ...     check()
    """
    excuses = expected or {}
    _check_names("expected", excuses)
    given: Any = make
    if not callable(given):
        msg = f"make must be a function that returns (model, step_fn), not {type(given).__name__}"
        raise TrainStepUsageError(msg)
    options = {"steps": steps, "frozen": frozen, "unused": unused}
    cases = [pytest.param(_Check(make, claim, options), id=claim, marks=_marks(excuses.get(claim))) for claim in CLAIMS]

    def decorate(test: Callable[..., Any]) -> Callable[..., Any]:
        names = [name for name in inspect.signature(test).parameters if name != "self"]
        if not names:
            msg = f"{test.__name__} must take the check as an argument and call it: def {test.__name__}(check): check()"
            raise TrainStepUsageError(msg)
        marked: Callable[..., Any] = pytest.mark.parametrize("check" if "check" in names else names[0], cases)(test)
        return marked

    return decorate


def _marks(reason: str | None) -> tuple[pytest.MarkDecorator, ...]:
    return () if reason is None else (pytest.mark.xfail(reason=reason, strict=True, raises=TrainStepError),)


class _Check:
    """One check, to be called by a test."""

    def __init__(self, make: Callable[[], Any], claim: str, options: Mapping[str, Any]) -> None:
        self._make, self._claim, self._options = make, claim, options

    def __call__(self) -> StepRecord:
        __tracebackhide__ = True
        model, step_fn = _parts(self._make())
        others = dict.fromkeys((claim for claim in CLAIMS if claim != self._claim), "a test of its own")
        return assert_step_sound(model, step_fn, skip=others, **self._options)

    def __repr__(self) -> str:
        return f"<check {self._claim}>"


def _parts(made: Any) -> tuple[Any, Callable[[], object]]:
    if isinstance(made, tuple) and len(made) == 2:  # noqa: PLR2004 - a pair
        return made
    model = getattr(made, "model", None)
    step = getattr(made, "step", None) or getattr(made, "train_step", None)
    if model is None or not callable(step):
        msg = f"make must return (model, step_fn) or an object with `model` and `step`, not {type(made).__name__}"
        raise TrainStepUsageError(msg)
    return model, step
