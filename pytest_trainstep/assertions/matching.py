"""The two claims that compare an update with the one it should be: a plain reference's, or the whole batch's."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pytest_trainstep._diagnose import accumulation, deviations, matching
from pytest_trainstep._diagnose.because import plural
from pytest_trainstep._diagnose.deviations import Deviation
from pytest_trainstep._errors import AccumulationMismatch, TrainStepUsageError, UpdateMismatch
from pytest_trainstep._watch import compare, modes, warmup
from pytest_trainstep._watch.ears import Heard
from pytest_trainstep._watch.references import Parting, Trial
from pytest_trainstep._watch.windows import WindowTrial

from . import advice
from .weights import steps_of

_SAME_LENGTH = 1e-3  # norms of gradients that differ by less are taken for equal
_PUT_BACK = "weights, buffers, optimizer state, gradients and random streams were put back"


def assert_update_matches(
    model: Any,
    step_fn: Callable[[], object],
    *,
    reference: Callable[[Any], Callable[[], object]],
    steps: int | None = None,
    rtol: float = 1e-5,
    msg: str | None = None,
) -> None:
    """`step_fn` moves the weights of `model` exactly as a plain reference does.

    Both start from the same weights and see the same random numbers in each call. Updates are compared norm-wise,
    relative to the largest one; what rounding alone can do to the reference is allowed on top. Afterwards weights,
    buffers, modes, optimizer state, gradients and random streams are as they were found; what else the step keeps (a
    scheduler, a counter, an iterator) has moved on.

    Args:
        model: A `torch.nn.Module`, or a mapping of names to modules.
        step_fn: The user's own step: called without arguments, may return anything.
        reference: Gets a deep copy of the model (or of the mapping), taken before the first step, and returns the
            reference step for it: a callable without arguments. It may be called twice, for two copies.
        steps: How often both are called before they are compared. Default as in `assert_weights_update`.
        rtol: How far apart the two updates of a parameter may be, relative to the largest update of all.
        msg: Text of your own, printed below the message.

    Raises:
        UpdateMismatch: With `.finding`: how far which parameter is off, and the probable cause.
        TrainStepUsageError: The arguments make no sense, `reference` returns no callable, the model cannot be copied,
            or neither of the two moves anything.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(2, 1)
        >>> x = torch.ones(4, 2)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> def step():
        ...     optimizer.zero_grad()
        ...     model(x).square().mean().backward()
        ...     optimizer.step()
        >>> def reference(copy):
        ...     def plain_step():
        ...         gradients = torch.autograd.grad(copy(x).square().mean(), list(copy.parameters()))
        ...         with torch.no_grad():
        ...             for weight, gradient in zip(copy.parameters(), gradients):
        ...                 weight -= 0.1 * gradient
        ...     return plain_step
        >>> assert_update_matches(model, step, reference=reference, steps=3)
    """
    __tracebackhide__ = True
    count = steps_of(step_fn, steps, default=1)
    _check_callable("reference", reference, "takes a copy of the model and returns its step")
    _check_rtol(rtol)
    warmup.warm_up()
    trial = Trial(model, step_fn, reference)
    with _put_back(trial):
        gaps = trial.run(count, rtol)
        noise = trial.noise() if compare.beyond(gaps, compare.limits(gaps, rtol)) else None
    _check_moves(gaps, "neither the step nor the reference")
    everything = [_deviation(gap, most) for gap, most in zip(gaps, compare.limits(gaps, rtol, noise), strict=True)]
    failed = [row for row in everything if row.failed]
    if not failed:
        return
    seen, rows = _sides(trial, everything, failed, count)
    what = f"moved otherwise than the reference in {plural(count, 'step')}"
    parts = f"the two part in call {seen.call} of {count}; " if count > 1 else ""
    raise UpdateMismatch(
        deviations.finding_of(
            deviations.claim_text(failed, everything, what, rtol),
            failed,
            matching.explain(rows, seen),
            on_purpose=f"write it into the reference, or pass a larger rtol= (now {rtol:g})",
            notes=[f"{parts}{_PUT_BACK}"],
            msg=msg,
        )
    )


@contextmanager
def _put_back(trial: Trial | WindowTrial) -> Iterator[None]:
    """Whatever happens inside, put everything back; add advice to errors of torch."""
    try:
        yield
    except BaseException as error:
        advice.add_note(error)
        raise
    finally:
        trial.stage.restore()


def _deviation(gap: compare.Gap, limit: float, **more: Any) -> Deviation:
    values = gap._asdict()
    del values["floor"]
    return Deviation(**values, limit=limit, **more)


def _sides(
    trial: Trial, everything: Sequence[Deviation], failed: Sequence[Deviation], count: int
) -> tuple[deviations.Sides, list[Deviation]]:
    """Gather what was seen in the call in which the two parted, and how far they were apart then."""
    parting = trial.parting
    if parting is None:  # so slowly that no single call shows it
        return deviations.Sides(calls=count), list(failed)
    limit = {row.name: row.limit for row in everything}
    number = {slot.name: index for index, slot in enumerate(trial.mine.slots)}
    names = {row.name for row in failed}
    gaps = [gap for gap in parting.gaps if gap.name in names]
    rows = [_deviation(gap, limit[gap.name], **_optimizers(parting, number[gap.name])) for gap in gaps]
    mine = [event for event in parting.mine if event.kind == "step"]
    theirs = [event for event in parting.theirs if event.kind == "step"]
    last = mine[-1] if mine else None
    seen = deviations.Sides(
        call=parting.call,
        calls=count,
        optimizer=last.name if last else None,
        stepped_at=last.at if last else None,
        skipped=any(event.kind == "skip" for event in parting.mine),
        maximize=bool(last and last.maximize),
        reference_maximize=bool(theirs and theirs[-1].maximize),
        passes=mine[0].passes if mine else 0,
        reference_passes=theirs[0].passes if theirs else 0,
        left_over=bool(mine and mine[0].left_over) and not (theirs and theirs[0].left_over),
        clipped=_clipped(parting.mine),
        clipped_after=parting.standing / last.before if last and last.before and parting.standing else None,
        had_state=mine[0].had_state if mine else None,
        reference_had_state=theirs[0].had_state if theirs else None,
        rebuilt=parting.rebuilt,
        streams_apart=parting.streams_apart,
        others=len(everything) - len(failed),
    )
    return seen, rows


def _optimizers(parting: Parting, number: int) -> dict[str, Any]:
    mine = [event for event in parting.mine if event.kind == "step" and number in event.holds]
    theirs = [event for event in parting.theirs if event.kind == "step" and number in event.holds]
    return {
        "steps": len(mine),
        "reference_steps": len(theirs),
        "lr": mine[0].lr[number] if mine else None,
        "lr_before": parting.lr_before.get(number),
        "reference_lr": theirs[0].lr[number] if theirs else None,
        "decay": mine[0].decay[number] if mine else None,
        "reference_decay": theirs[0].decay[number] if theirs else None,
    }


def _clipped(events: Sequence[Heard]) -> float | None:
    """Return the norm of the gradient at the first step, relative to what the backward pass before it left."""
    for earlier, later in itertools.pairwise(events):
        if earlier.kind == "backward" and later.kind == "step":
            return later.before / earlier.after if earlier.after else None
    return None


def assert_accumulation_matches(
    model: Any,
    step_fn: Callable[[], object],
    *,
    full_loss: Callable[[], object],
    optimizer: Any,
    max_norm: float | None = None,
    rtol: float = 1e-5,
    msg: str | None = None,
) -> None:
    """One call of `step_fn` over micro-batches makes the same update as one backward pass over the whole batch.

    Both start from the same weights and optimizer state. Layers with batch statistics and dropout cannot agree between
    micro-batches and a whole batch, so the model is held in eval mode in both. Updates are compared norm-wise, relative
    to the largest one; what rounding alone can do is allowed on top. Afterwards weights, buffers, modes, optimizer
    state, gradients and random streams are as they were found.

    Args:
        model: A `torch.nn.Module`, or a mapping of names to modules.
        step_fn: Runs one whole window, micro-batches and optimizer step: called without arguments, may return anything.
        full_loss: Returns the loss of the whole batch, computed from `model`, as a tensor with a graph.
        optimizer: The optimizer that `step_fn` steps, or several in a list.
        max_norm: The norm to which `step_fn` clips the gradients of the model before the step, if it does.
        rtol: How far apart the two updates of a parameter may be, relative to the largest update of all.
        msg: Text of your own, printed below the message.

    Raises:
        AccumulationMismatch: With `.finding`: how far the update is off, and what happened inside the window.
        TrainStepUsageError: The arguments make no sense: `full_loss` returns no tensor or one without a graph; or
            neither of the two moves anything.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(2, 1)
        >>> x = torch.arange(8.0).reshape(4, 2)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        >>> def step():
        ...     optimizer.zero_grad()
        ...     for part in x.chunk(2):
        ...         (model(part).square().mean() / 2).backward()
        ...     optimizer.step()
        >>> assert_accumulation_matches(model, step, full_loss=lambda: model(x).square().mean(), optimizer=optimizer)
    """
    __tracebackhide__ = True
    steps_of(step_fn, 1, default=1)
    _check_callable("full_loss", full_loss, "returns the loss of the whole batch")
    _check_rtol(rtol)
    optimizers = optimizers_in(optimizer)
    _check_norm(max_norm)
    warmup.warm_up()
    trial = WindowTrial(model, step_fn, full_loss, optimizers, max_norm)
    with _put_back(trial):
        gaps = trial.run()
        allowed = trial.rtol(rtol)
        noise = trial.noise() if compare.beyond(gaps, compare.limits(gaps, allowed)) else None
    _check_moves(gaps, "neither step_fn nor a step over full_loss()")
    everything = [_deviation(gap, most) for gap, most in zip(gaps, compare.limits(gaps, allowed, noise), strict=True)]
    failed = [row for row in everything if row.failed]
    if not failed:
        return
    quiet = "the whole model" if trial.whole else "layers of dropout and batch statistics"
    raise AccumulationMismatch(
        deviations.finding_of(
            deviations.claim_text(failed, everything, "moved otherwise than with the whole batch", allowed),
            failed,
            accumulation.explain(failed, _window(trial, everything)),
            on_purpose=f"let full_loss= compute what the window is meant to (or pass a larger rtol=, now {rtol:g})",
            notes=[f"{quiet} ran in eval mode in both; {_PUT_BACK}"],
            msg=msg,
        )
    )


def _window(trial: WindowTrial, everything: Sequence[Deviation]) -> accumulation.Window:
    ear = trial.ear
    steps = [event for event in ear.heard if event.kind == "step"]
    passes = [event for event in ear.heard if event.kind == "backward"]
    first = next((i for i, event in enumerate(ear.heard) if event.kind == "step"), len(ear.heard))
    before = [event for event in ear.heard[:first] if event.kind == "backward"]
    after = [event for event in ear.heard[first:] if event.kind == "backward"]
    numbers: dict[str, Any] = {}
    if ear.consumed is not None:
        raw = compare.match(ear.consumed, trial.whole_gradient)
        clipped = compare.match(ear.consumed, trial.clipped_gradient)
        numbers = {"factor": raw.factor, "cosine": raw.cosine, "clipped_factor": clipped.factor}
    fit = compare.fit(ear.parts or (), trial.whole_gradient, _loss_scale(ear.heard))
    if fit is not None:
        numbers |= fit._asdict()
    return accumulation.Window(
        passes=len(passes),
        steps=_steps_per_parameter(steps),
        passes_before=len(before),
        passes_after=len(after) if steps else 0,
        skipped=any(event.kind == "skip" for event in ear.heard),
        left_over=bool(steps and steps[0].left_over),
        cleared=sum(a.after > 0 and b.before == 0 for a, b in itertools.pairwise(before)),
        rescaled=sum(_rescaled(a, b) for a, b in itertools.pairwise(before)),
        stepped_at=steps[0].at if steps else None,
        backward_at=passes[0].at if passes else None,
        max_norm=trial.max_norm,
        slack=max(_SAME_LENGTH, trial.rtol(0.0)),
        parameters=sum(row.numel for row in everything),
        by_batch=tuple(modes.normalises_by_batch(trial.modules)),
        **numbers,
    )


def _rescaled(earlier: Heard, later: Heard) -> bool:
    """Tell whether the gradients changed their length between two backward passes, and are still there."""
    return bool(earlier.after and later.before and abs(later.before / earlier.after - 1) > _SAME_LENGTH)


def _steps_per_parameter(steps: Sequence[Heard]) -> int:
    """Count the steps of the parameter that was stepped most often: several optimizers share a window."""
    count: dict[int, int] = {}
    for event in steps:
        for number in event.holds:
            count[number] = count.get(number, 0) + 1
    return max(count.values(), default=len(steps))


def _loss_scale(events: Sequence[Heard]) -> float:
    """Return the power of two by which a gradient scaler multiplied the gradients of the passes, else 1."""
    shrunk = _clipped(events)
    if not shrunk or not math.isfinite(shrunk) or shrunk >= 1:
        return 1.0
    scale = 2.0 ** -round(math.log2(shrunk))
    return scale if abs(shrunk * scale - 1) < _SAME_LENGTH else 1.0


def optimizers_in(optimizer: Any) -> list[Any]:
    """Return one or several optimizers as a list.

    Raises:
        TrainStepUsageError: Something in it is no optimizer.
    """
    several = list(optimizer.values()) if isinstance(optimizer, Mapping) else optimizer
    several = list(several) if isinstance(several, list | tuple) else [several]
    for one in several:
        if not callable(getattr(one, "step", None)) or not isinstance(getattr(one, "param_groups", None), list):
            msg = f"optimizer must be a torch optimizer, or several in a list, not {type(one).__name__}"
            raise TrainStepUsageError(msg)
    if not several:
        raise TrainStepUsageError("optimizer must be a torch optimizer, or several in a list, not an empty list")
    return several


def _check_moves(gaps: Sequence[compare.Gap], who: str) -> None:
    if not any(gap.moved or gap.wanted for gap in gaps):
        raise TrainStepUsageError(f"nothing to compare: {who} moves any weight (is the lr 0?)")


def _check_callable(name: str, value: object, what: str) -> None:
    if not callable(value):
        raise TrainStepUsageError(f"{name} must be a callable that {what}, not {type(value).__name__}")


def _check_norm(max_norm: object) -> None:
    if max_norm is not None and not (isinstance(max_norm, int | float) and max_norm > 0):
        raise TrainStepUsageError(f"max_norm must be a number above 0, not {max_norm!r}")


def _check_rtol(rtol: object) -> None:
    if isinstance(rtol, bool) or not isinstance(rtol, int | float) or not 0 < rtol < 1:
        raise TrainStepUsageError(f"rtol must be a number between 0 and 1, not {rtol!r}")
