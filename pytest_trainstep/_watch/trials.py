"""Running a training twice under controlled conditions: random streams, the clock, the system's entropy.

A trial is a trainer built and stepped from known starting states of every global random stream. What
it leaves is plain: losses, a fingerprint of each weight after each step, and where the streams ended.
"""

from __future__ import annotations

import itertools
import math
import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from pytest_trainstep._errors import TrainStepUsageError

from . import snapshots
from .fingerprints import fingerprint
from .naming import modules_of, slots_of
from .restore import random_states
from .trace import loss_in

STREAMS = ("python", "numpy", "torch")
_CLOCKS = ("time", "perf_counter", "monotonic")
NOW, AHEAD, STILL, STILL_AHEAD = range(4)  # how the clock goes in a trial
_DAY = 86_400.0


@dataclass(slots=True)
class Conditions:
    """How a trial begins: one entropy number for each stream, how the clock goes."""

    entropy: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STREAMS, 11))
    clock: int = NOW
    fixed_system_entropy: bool = False


@dataclass(slots=True)
class Trial:
    """What a run left behind, in plain values."""

    losses: list[float | None]
    weights: list[dict[str, int]]  # after construction, then after each step
    streams: dict[str, int]  # a number that stands for the final state of each stream

    def first_difference(self, other: Trial) -> tuple[int, str] | None:
        """Return the first step (0 is construction) and what differs there: a parameter, or `loss`."""
        for step, (mine, theirs) in enumerate(zip(self.weights, other.weights, strict=True)):
            if step and not same_number(self.losses[step - 1], other.losses[step - 1]):
                return step, "loss"
            for name in mine:
                if mine[name] != theirs.get(name):
                    return step, name
        return None


def same_number(one: float | None, other: float | None) -> bool:
    """Compare losses bit for bit; NaN is NaN."""
    if one is None or other is None:
        return one is other
    return one == other or (math.isnan(one) and math.isnan(other))


@dataclass(slots=True)
class Pair:
    """A trainer made of a model and a step, and, to be resumed, of the two functions of a checkpoint."""

    model: Any
    step: Callable[[], object]
    state_dict: Callable[[], Any] | None = None
    load_state_dict: Callable[[Any], object] | None = None


def build(make_trainer: Callable[[], Any]) -> Any:
    """Call `make_trainer` and check what it returns.

    Raises:
        TrainStepUsageError: It returns neither an object with `.model` and `.step` nor a pair of them.
    """
    trainer = make_trainer()
    if isinstance(trainer, tuple) and len(trainer) == 2:  # noqa: PLR2004 - a pair
        trainer = Pair(*trainer)
    if not callable(getattr(trainer, "step", None)) or not hasattr(trainer, "model"):
        msg = (
            "make_trainer() must return an object with .model and .step(), or a pair (model, step_fn), not"
            f" {type(trainer).__name__}"
        )
        raise TrainStepUsageError(msg)
    return trainer


def weights_of(model: Any) -> dict[str, int]:
    """Fingerprint every parameter and buffer of a model (or of a mapping of models)."""
    modules = modules_of(model)
    marks = {slot.name: mark(slot.tensor) for slot in slots_of(modules)}
    for prefix, module in modules.items():
        for name, buffer in module.named_buffers(prefix=prefix):
            marks[name] = mark(buffer)
    return marks


def mark(tensor: torch.Tensor) -> int:
    """Fingerprint one tensor."""
    return fingerprint(snapshots.local(tensor)) if snapshots.readable(tensor) else 0


def marks(tensors: Mapping[str, torch.Tensor]) -> dict[str, int]:
    """Fingerprint several."""
    return {name: mark(tensor) for name, tensor in tensors.items()}


def loss_of(value: object) -> float | None:
    """Return the loss in what a step returned, as a number; None where there is none."""
    tensor = loss_in(value)
    if tensor is not None:
        return float(tensor.detach().double().sum())
    if isinstance(value, Mapping):
        value = value.get("loss")
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def run(make_trainer: Callable[[], Any], steps: int, conditions: Conditions) -> Trial:
    """Build a trainer and run it; the user's streams and clock are as before afterwards."""
    with controlled(conditions):
        return go_on(build(make_trainer), steps)


def go_on(trainer: Any, steps: int) -> Trial:
    """Step a trainer from where it is, in the conditions that hold."""
    weights = [weights_of(trainer.model)]
    losses: list[float | None] = []
    for _ in range(steps):
        losses.append(loss_of(trainer.step()))
        weights.append(weights_of(trainer.model))
    return Trial(losses, weights, stream_marks())


def stream_marks() -> dict[str, int]:
    """Return a number for the present state of each global stream."""
    marks = {"python": hash(random.getstate()), "torch": mark(torch.get_rng_state())}
    numpy = sys.modules.get("numpy.random")
    if numpy is not None:
        state = numpy.get_state()
        marks["numpy"] = hash((state[0], state[1].tobytes(), *state[2:]))
    return marks


@contextmanager
def controlled(conditions: Conditions) -> Iterator[None]:
    """Put the streams, the clock and the system's entropy into a known state; undo it at the end."""
    undo = random_states()
    deterministic = torch.is_grad_enabled()
    with ExitStack() as stack:
        stack.callback(torch.set_grad_enabled, deterministic)
        stack.callback(undo)
        seed(conditions.entropy)
        if conditions.clock != NOW:
            stack.enter_context(_other_clock(conditions.clock))
        if conditions.fixed_system_entropy:
            stack.enter_context(_fixed_system_entropy())
        yield


def seed(entropy: Mapping[str, int]) -> None:
    """Start each stream from its own number."""
    random.seed(entropy["python"])
    torch.manual_seed(entropy["torch"])
    numpy = sys.modules.get("numpy.random")
    if numpy is not None:
        numpy.seed(entropy["numpy"])


@contextmanager
def _other_clock(kind: int) -> Iterator[None]:
    """Replace the functions of `time`, also where a module has imported them by name.

    A clock that stands still ticks a little at each call, the same in every trial.
    """
    swaps: list[tuple[Any, str, Any]] = []
    for name in _CLOCKS:
        for suffix, unit in (("", 1.0), ("_ns", 1e9)):
            original = getattr(time, name + suffix)
            new = _clock(original, kind, unit)
            for module in (time, *_user_modules()):
                for key in _bound_to(module, original):
                    swaps.append((module, key, original))
                    setattr(module, key, new)
    try:
        yield
    finally:
        for module, key, original in swaps:
            setattr(module, key, original)


def _clock(original: Callable[[], Any], kind: int, unit: float) -> Callable[[], Any]:
    number = int if unit > 1 else float
    if kind == AHEAD:
        return lambda: number(original() + _DAY * unit)
    ticks = itertools.count()
    start, tick = (1e9, 1e-3) if kind == STILL else (1e9 + _DAY, 2e-3)
    return lambda: number((start + next(ticks) * tick) * unit)


def _bound_to(module: Any, function: Any) -> list[str]:
    return [key for key, value in list(vars(module).items()) if value is function]


def _user_modules() -> list[Any]:
    """The modules that are neither of the standard library nor installed."""
    found = []
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None)
        installed = path is None or "site-packages" in path or "dist-packages" in path
        if not installed and module.__name__.partition(".")[0] not in sys.stdlib_module_names:
            found.append(module)
    return found


@contextmanager
def _fixed_system_entropy() -> Iterator[None]:
    """Let the system's entropy (SystemRandom, secrets, numpy's default seeds) come from a fixed stream."""
    import os

    fixed = random.Random(5)  # noqa: S311 - predictable is what it is for
    before = (os.urandom, random._urandom)  # type: ignore[attr-defined]  # noqa: SLF001 - what SystemRandom reads

    def urandom(size: int) -> bytes:
        return fixed.randbytes(size)

    os.urandom = random._urandom = urandom  # type: ignore[attr-defined]  # noqa: SLF001
    try:
        yield
    finally:
        os.urandom, random._urandom = before  # type: ignore[attr-defined]  # noqa: SLF001
