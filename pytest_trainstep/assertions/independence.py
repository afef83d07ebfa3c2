"""The claims about what an output may depend on: its own sample, and nothing that comes later."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from pytest_trainstep._diagnose import independence as diagnosis
from pytest_trainstep._errors import PositionsNotCausal, SamplesNotIndependent, TrainStepUsageError
from pytest_trainstep._watch import forwards, mixing, naming, nests

from . import dependence

Forward = Callable[[Any, Any], Any]
Replace = Callable[[Any, int], Any]


def assert_samples_independent(
    model: Any,
    batch: Any,
    *,
    forward: Forward | None = None,
    replace: Replace | None = None,
    size: int | None = None,
    msg: str | None = None,
) -> None:
    """The output for one sample of a batch does not depend on another sample.

    Every sample is replaced in turn, and every other row of the output compared. Without `replace`, a sample is
    replaced by another one of the batch; where the batch holds floating-point tensors, gradients between rows are
    searched too, and what they show is confirmed by a small step. A change counts when it stands out from the
    rounding of the dtype and from the effect on the replaced sample's own output; where that is in doubt, a float64
    copy of the model decides.

    The model runs in eval mode (dropout off, batch norm with running statistics: in train mode these couple samples
    by design), each time from the same random state. Modes, buffers, weights and random streams are put back.

    Args:
        model: A `torch.nn.Module`, or a mapping of names to modules.
        batch: A tensor with the samples in front, a list of samples, or a tuple or mapping of such tensors.
        forward: Called with model and batch; returns one row for each sample. Default: `model(batch)`; a tuple is
            passed as arguments, a mapping as keyword arguments.
        replace: Called with batch and the number of a sample; returns a batch in which that sample is another one.
        size: How many samples the batch has, where its structure does not say so.
        msg: Text of your own, printed below the message.

    Raises:
        SamplesNotIndependent: With `.finding`: which rows changed, and the operation in which samples met.
        TrainStepUsageError: The arguments make no sense, the output has no row for each sample, or the forward pass
            does not repeat itself.

    Example:
        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Softmax(dim=-1))
        >>> assert_samples_independent(model, torch.randn(5, 3))
    """
    __tracebackhide__ = True
    found = _examine(model, batch, _Question(0, forward, replace, size))
    if found is not None:
        result, notes = found
        raise SamplesNotIndependent(diagnosis.finding(result, positions=False, notes=notes, msg=msg))


def assert_positions_causal(
    model: Any,
    batch: Any,
    *,
    forward: Forward | None = None,
    replace: Replace | None = None,
    size: int | None = None,
    msg: str | None = None,
) -> None:
    """The output at position t does not depend on inputs after t; samples may depend on each other.

    Works as `assert_samples_independent` does, along the second dimension: each position is replaced in all samples
    at once, and the outputs at every earlier position compared.

    Args:
        model: A `torch.nn.Module`, or a mapping of names to modules.
        batch: A tensor of shape (batch, positions, ...), or a tuple or mapping of such tensors.
        forward: Called with model and batch; returns (batch, positions, ...). Default as in
            `assert_samples_independent`.
        replace: Called with batch and a position; returns a batch in which the inputs at that position are others.
        size: How many positions there are, where the batch does not say so.
        msg: Text of your own, printed below the message.

    Raises:
        PositionsNotCausal: With `.finding`: which positions see which later ones, and what that pattern means.
        TrainStepUsageError: As in `assert_samples_independent`.

    Example:
        >>> import torch
        >>> model = torch.nn.GRU(3, 4, batch_first=True)
        >>> assert_positions_causal(model, torch.randn(2, 5, 3), forward=lambda m, x: m(x)[0])
    """
    __tracebackhide__ = True
    found = _examine(model, batch, _Question(1, forward, replace, size))
    if found is not None:
        result, notes = found
        raise PositionsNotCausal(diagnosis.finding(result, positions=True, notes=notes, msg=msg))


@dataclass(frozen=True, slots=True)
class _Question:
    axis: int
    forward: Forward | None
    replace: Replace | None
    size: int | None

    @property
    def what(self) -> str:
        return "position" if self.axis else "sample"


def _examine(model: Any, batch: Any, ask: _Question) -> tuple[diagnosis.Mixing, list[str]] | None:
    modules = naming.modules_of(model)
    size = _size(batch, ask)
    runner = forwards.Runner(model, modules, ask.forward or forwards.default_forward)
    with runner.in_eval_mode():
        comparison = _baseline(runner, batch, size, ask)
        for index, changed in _replacements(batch, size, ask):
            comparison.add(index, changed, _output(runner, changed, index, size, ask))
        if not comparison.anything_changed():
            msg = f"replacing a {ask.what} changes nothing in the output: the claim would hold whatever the model does; pass replace="
            raise TrainStepUsageError(msg)
        found = comparison.dependences()
        if not found and ask.replace is None and not (ask.axis == 0 and nests.is_samples(batch, size)):
            _follow_gradients(runner, batch, comparison)
            found = comparison.dependences()
        if not found:
            return None
        notes = ["the model was in eval mode for this"] if runner.was_training else []
        return _mixing(runner, batch, comparison, found), notes


def _size(batch: Any, ask: _Question) -> int:
    asked: tuple[tuple[str, Any], ...] = (("forward", ask.forward), ("replace", ask.replace))
    for name, given in asked:
        if given is not None and not callable(given):
            msg = f"{name} must be callable, not {type(given).__name__}"
            raise TrainStepUsageError(msg)
    size: Any = nests.size_of(batch, ask.axis) if ask.size is None else ask.size
    if size is None:
        msg = f"cannot tell how many {ask.what}s a batch of type {type(batch).__name__} has: pass size= and replace="
        raise TrainStepUsageError(msg)
    if isinstance(size, bool) or not isinstance(size, int) or size < 2:  # noqa: PLR2004
        msg = f"at least two {ask.what}s are needed to compare them, not {size!r}"
        raise TrainStepUsageError(msg)
    return size


def _baseline(runner: forwards.Runner, batch: Any, size: int, ask: _Question) -> dependence.Comparison:
    first = nests.columns_of(runner.run(nests.copied(batch)), size, ask.axis)
    if not first:
        where = "second" if ask.axis else "first"
        msg = f"the output has no dimension of size {size} ({where} of each tensor): pass forward= that returns one row for each {ask.what}"
        raise TrainStepUsageError(msg)
    comparison = dependence.Comparison(runner, batch, size, ask.axis, first)
    if not comparison.repeats(nests.columns_of(runner.run(nests.copied(batch)), size, ask.axis)):
        msg = "the same batch gives another output the second time: forward keeps a state or a random generator of its own; start it afresh in forward="
        raise TrainStepUsageError(msg)
    return comparison


def _replacements(batch: Any, size: int, ask: _Question) -> Iterator[tuple[int, Any]]:
    """Yield every sample's number and a batch in which it is another one."""
    for index in range(size):
        if ask.replace is not None:
            yield index, ask.replace(nests.copied(batch), index)
            continue
        for step in range(1, size):
            changed = nests.swapped(batch, index, (index + step) % size, size, ask.axis)
            if not nests.equal(changed, batch):
                yield index, changed
                break


def _output(runner: forwards.Runner, changed: Any, index: int, size: int, ask: _Question) -> list[nests.Column]:
    try:
        output = runner.run(nests.copied(changed))
    except Exception as error:
        error.add_note(f"trainstep: this happened with {ask.what} {index} replaced; pass replace= for one that fits")
        raise
    return nests.columns_of(output, size, ask.axis)


def _follow_gradients(runner: forwards.Runner, batch: Any, comparison: dependence.Comparison) -> None:
    """Look for gradients between rows, and go a step along each to see whether the output follows."""
    size, axis = comparison.size, comparison.axis
    for row, found, grads in forwards.sensitivities(runner, batch, size, axis, comparison.spread()):
        index = comparison.suspect(row, found)
        if index is not None:
            changed = forwards.nudged(batch, grads, index, size, axis)
            comparison.add(index, changed, nests.columns_of(runner.run(nests.copied(changed)), size, axis))
            if comparison.dependences():
                return


def _mixing(
    runner: forwards.Runner, batch: Any, comparison: dependence.Comparison, found: Sequence[diagnosis.Dependence]
) -> diagnosis.Mixing:
    worst = max(found, key=lambda one: one.relative)
    place = None
    if not comparison.axis:
        place = mixing.meeting_place(
            runner, batch, comparison.batch_of(worst.replaced), comparison.size, worst.replaced
        )
    return diagnosis.Mixing(
        size=comparison.size,
        found=tuple(found),
        operation=place.operation if place else None,
        line=place.at if place else None,
        module=place.module if place else None,
        length_only=not comparison.axis and _length_only(runner, batch, comparison, found),
        past=not comparison.axis or comparison.past_shows(),
        bidirectional=mixing.bidirectional(runner.modules),
    )


def _length_only(
    runner: forwards.Runner, batch: Any, comparison: dependence.Comparison, found: Sequence[diagnosis.Dependence]
) -> bool:
    """Tell whether samples of another length change the others, and other contents of the same length do not."""
    if not isinstance(batch, list) or not all(isinstance(one, torch.Tensor) and one.dim() for one in batch):
        return False
    for index in {one.replaced for one in found}:
        changed = comparison.batch_of(index)
        if changed[index].shape == batch[index].shape:
            return False
        turned = nests.copied(batch)
        turned[index] = turned[index].flip(0)
        output = nests.columns_of(runner.run(turned), comparison.size, 0)
        if comparison.others_change(index, output):
            return False
    return True
