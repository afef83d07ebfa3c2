"""Running a training twice under controlled conditions: random streams, the clock, the system's entropy.

A trial is a trainer built and stepped from known starting states of every global random stream. What
it leaves is plain: losses, a fingerprint of each weight after each step, and where the streams ended.
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from pytest_trainstep._errors import TrainStepUsageError

from . import circumstances, snapshots
from .circumstances import AHEAD, NOW, STILL, STILL_AHEAD
from .fingerprints import fingerprint
from .naming import modules_of, slots_of
from .restore import random_states
from .trace import loss_in

STREAMS = ("python", "numpy", "torch")


@dataclass(slots=True)
class Conditions:
    """How a trial begins: one entropy number for each stream, how the clock goes, what memory looks like.

    `fixed` names what is further taken out of play: the system's entropy, the order of addresses, memory
    that nobody has written to, operations that are not deterministic.
    """

    entropy: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STREAMS, 11))
    clock: int = NOW
    memory: int = 0
    fixed: str = ""


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
    grad_enabled = torch.is_grad_enabled()
    with ExitStack() as stack:
        stack.callback(torch.set_grad_enabled, grad_enabled)
        stack.callback(undo)
        circumstances.stir_memory(conditions.memory)
        seed(conditions.entropy)
        stack.enter_context(circumstances.clock(conditions.clock))
        if conditions.fixed:
            stack.enter_context(circumstances.FIXED[conditions.fixed]())
        yield


def seed(entropy: Mapping[str, int]) -> None:
    """Start each stream from its own number."""
    random.seed(entropy["python"])
    torch.manual_seed(entropy["torch"])
    numpy = sys.modules.get("numpy.random")
    if numpy is not None:
        numpy.seed(entropy["numpy"])


__all__ = ["AHEAD", "NOW", "STILL", "STILL_AHEAD", "STREAMS", "Conditions", "Pair", "Trial", "build", "run"]
