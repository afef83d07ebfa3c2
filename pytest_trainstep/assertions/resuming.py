"""A training that is saved and loaded goes on as if it had never stopped."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from pytest_trainstep._diagnose.because import Because, plural
from pytest_trainstep._diagnose.finding import Finding, Reason
from pytest_trainstep._errors import ResumeMismatch, TrainStepUsageError
from pytest_trainstep._watch import components, trials, warmup
from pytest_trainstep._watch.components import Part
from pytest_trainstep._watch.naming import modules_of
from pytest_trainstep._watch.trials import Conditions, Trial

from . import resume_causes
from .weights import steps_of

_FIRST = Conditions(dict.fromkeys(trials.STREAMS, 11))
_NEW_PROCESS = Conditions(dict.fromkeys(trials.STREAMS, 23))


class Saved(NamedTuple):
    """What the interrupted run left: its checkpoint, its parts at that moment, how it went on."""

    state: Callable[[], Any]  # a new copy each time: what is loaded may be trained on in place
    parts: dict[str, Part]
    before: Trial
    after: Trial
    inputs: tuple[int, ...]
    later: dict[str, Part]  # its parts at the end, where the checkpoint may refer to them


class Resumed(NamedTuple):
    """A new trainer: its weights when built, its parts after loading, how it went on."""

    built: dict[str, int]
    parts: dict[str, Part]
    after: Trial
    inputs: tuple[int, ...]


def assert_resume_matches(
    make_trainer: Callable[[], Any], *, steps: int | None = None, in_memory: bool = False, msg: str | None = None
) -> None:
    """A trainer built anew and loaded from a checkpoint goes on exactly as the one that was saved.

    `steps`, save, `steps` more, against: a new trainer (with random streams in another state, as in a new
    process), load, `steps` more. Losses and all weights are compared, step by step. The checkpoint goes
    through `torch.save` and `torch.load` (with `weights_only=True` where its contents allow).

    Args:
        make_trainer: Called without arguments; returns an object with `.model`, `.step()`, `.state_dict()`
            and `.load_state_dict(state)`.
        steps: How many steps before and after the checkpoint. Default: the marker's, the option's, else 2.
        in_memory: Keep the checkpoint as the object that `state_dict()` returned while the first trainer
            goes on: finds snapshots that are aliases of living tensors.
        msg: Text of your own, printed below the message.

    Raises:
        ResumeMismatch: With `.finding`: what was lost, found by giving it back.
        TrainStepUsageError: `make_trainer` does not return such an object.

    Example:
        >>> import torch
        >>> class Trainer:
        ...     def __init__(self):
        ...         torch.manual_seed(0)
        ...         self.model = torch.nn.Linear(2, 1)
        ...         self.optimizer = torch.optim.Adam(self.model.parameters())
        ...     def step(self):
        ...         self.optimizer.zero_grad()
        ...         self.model(torch.ones(1, 2)).sum().backward()
        ...         self.optimizer.step()
        ...     def state_dict(self):
        ...         return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        ...     def load_state_dict(self, state):
        ...         self.model.load_state_dict(state["model"])
        ...         self.optimizer.load_state_dict(state["optimizer"])
        >>> assert_resume_matches(Trainer, steps=2)
    """
    __tracebackhide__ = True
    count = steps_of(make_trainer, steps, default=2, what="make_trainer")
    warmup.warm_up()
    uninterrupted = trials.run(make_trainer, 2 * count, _FIRST)
    saved = _interrupted(make_trainer, count, in_memory=in_memory)
    disturbed = _disturbance(uninterrupted, saved, count)
    if disturbed is not None:
        raise ResumeMismatch(_finding(disturbed, count, msg))
    resumed = _resumed(make_trainer, saved.state, count, ())
    difference = saved.after.first_difference(resumed.after)
    if difference is None:
        return
    lost = components.differing(saved.parts, resumed.parts)
    guilty = _guilty(make_trainer, saved, count, lost)
    reasons = resume_causes.name(guilty, saved, resumed)
    raise ResumeMismatch(_finding((difference, reasons), count, msg))


def _interrupted(make_trainer: Callable[[], Any], steps: int, *, in_memory: bool) -> Saved:
    with trials.controlled(_FIRST):
        trainer = _build(make_trainer)
        before = trials.go_on(trainer, steps)
        state = _kept(trainer.state_dict(), in_memory=in_memory)
        parts = components.parts_of(trainer)
        with _Inputs(trainer.model) as inputs:
            after = trials.go_on(trainer, steps)
        later = components.parts_of(trainer) if in_memory else {}
        return Saved(state, parts, before, after, inputs.first, later)


def _resumed(
    make_trainer: Callable[[], Any], state: Callable[[], Any], steps: int, given_back: Sequence[Part]
) -> Resumed:
    """Build, load, give back the parts named, and go on."""
    with trials.controlled(_NEW_PROCESS):
        trainer = _build(make_trainer)
        built = trials.weights_of(trainer.model)
        trainer.load_state_dict(state())
        loaded = components.parts_of(trainer)
        for part in given_back:
            part.put(trainer)
        with _Inputs(trainer.model) as inputs:
            after = trials.go_on(trainer, steps)
        return Resumed(built, loaded, after, inputs.first)


def _build(make_trainer: Callable[[], Any]) -> Any:
    trainer = trials.build(make_trainer)
    for method in ("state_dict", "load_state_dict"):
        if not callable(getattr(trainer, method, None)):
            msg = f"the trainer needs .{method}() to be saved and resumed; {type(trainer).__name__} has none"
            raise TrainStepUsageError(msg)
    return trainer


def _kept(state: Any, *, in_memory: bool) -> Callable[[], Any]:
    """Keep a checkpoint as the living object, or as the bytes of a file."""
    if in_memory:
        return lambda: copy.deepcopy(state)
    file = io.BytesIO()
    torch.save(state, file)
    return lambda: _load(file.getvalue())


def _load(data: bytes) -> Any:
    """Load safely where the contents allow."""
    try:
        return torch.load(io.BytesIO(data), weights_only=True)
    except Exception:  # noqa: BLE001 - whatever is refused: the user's own file is trusted
        return torch.load(io.BytesIO(data), weights_only=False)


class _Inputs:
    """Fingerprints of what the model is given in its first forward pass."""

    def __init__(self, model: Any) -> None:
        self.modules = list(modules_of(model).values())
        self.first: tuple[int, ...] = ()

    def __enter__(self) -> _Inputs:  # noqa: PYI034 - private, and never subclassed
        self.handles = [one.register_forward_pre_hook(self._note) for one in self.modules]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self.handles:
            handle.remove()

    def _note(self, _module: Any, inputs: tuple[Any, ...]) -> None:
        if not self.first:
            tensors = [one for one in inputs if isinstance(one, torch.Tensor)]
            self.first = tuple(trials.mark(one) for one in tensors)


def _disturbance(
    uninterrupted: Trial, saved: Saved, steps: int
) -> tuple[tuple[int, str], list[tuple[str, Because]]] | None:
    """Compare the run that was saved with one that never was, from the same streams."""
    early = Trial(uninterrupted.losses[:steps], uninterrupted.weights[: steps + 1], {})
    difference = early.first_difference(saved.before)
    if difference is not None:
        return difference, [resume_causes.NOT_REPRODUCIBLE]
    late = Trial(uninterrupted.losses[steps:], uninterrupted.weights[steps:], {})
    difference = late.first_difference(saved.after)
    return None if difference is None else (difference, [resume_causes.SAVING_DISTURBS])


def _guilty(make_trainer: Callable[[], Any], saved: Saved, steps: int, lost: list[Part]) -> list[Part]:
    """Return the parts that, given back, mend the resumed run, and without any one of which it stays broken."""
    if not lost or not _mends(make_trainer, saved, steps, lost):
        return []
    needed = list(lost)
    kinds = [[part for part in lost if part.kind == kind] for kind in dict.fromkeys(part.kind for part in lost)]
    for spared in (*kinds, *([part] for part in lost)):  # whole kinds first: a trial costs as much as the training
        rest = [one for one in needed if not any(one is part for part in spared)]
        if len(rest) < len(needed) and _mends(make_trainer, saved, steps, rest):
            needed = rest
    return needed


def _mends(make_trainer: Callable[[], Any], saved: Saved, steps: int, parts: Sequence[Part]) -> bool:
    try:
        after = _resumed(make_trainer, saved.state, steps, parts).after
    except Exception:  # noqa: BLE001 - a part that does not fit into the new trainer mends nothing
        return False
    return saved.after.first_difference(after) is None


def _finding(found: tuple[tuple[int, str], list[tuple[str, Because]]], steps: int, msg: str | None) -> Finding:
    (step, name), reasons = found
    what = "the loss" if name == "loss" else name
    where = "right after loading" if step == 0 else f"at step {step} after the checkpoint"
    return Finding(
        claim=f"the resumed run parts from the uninterrupted one {where}, first in {what}"
        f" ({plural(steps, 'step')} before and after)",
        causes=tuple(cause for cause, _ in reasons),
        parameters={} if name == "loss" else {name: reasons[0][0]},
        reasons=tuple(Reason(cause=cause, because=why.text, fix=why.fix) for cause, why in reasons),
        on_purpose="leave the claim out: a training that starts anew on purpose does not resume",
        msg=msg,
    )
