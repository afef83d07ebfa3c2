"""Running a step and its reference side by side, from the same weights and the same random numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from pytest_trainstep._errors import TrainStepUsageError

from . import compare, naming
from .ears import Ear, Heard, listening
from .restore import random_states, random_streams_kept
from .stage import Stage, nudge, optimizers_of, twin_of
from .streams import positions


@dataclass(slots=True)
class Side:
    """One of the two ways: its models, where they are, and what was heard in the last call."""

    modules: Mapping[str, nn.Module]
    slots: list[naming.Slot]
    step: Callable[[], object]
    start: compare.Values = ()
    now: compare.Values = ()
    heard: list[Heard] = field(default_factory=list)
    standing: float = 0.0  # norm of the gradients after the last call


@dataclass(slots=True)
class Parting:
    """The first call after which the two were apart."""

    call: int
    gaps: list[compare.Gap]
    mine: list[Heard]
    theirs: list[Heard]
    lr_before: dict[int, float]
    standing: float
    streams_apart: bool
    rebuilt: bool  # an optimizer was met for the first time, and it was not in the first call


class Trial:
    """A step against its reference."""

    def __init__(self, model: Any, step_fn: Callable[[], object], reference: Callable[[Any], Any]) -> None:
        modules = naming.modules_of(model)
        self.single = isinstance(model, nn.Module)
        self.reference = reference
        self.optimizers = optimizers_of(modules)
        self.stage = Stage(modules, self.optimizers)
        self.mine = Side(modules, naming.slots_of(modules), step_fn)
        self.theirs = self._referred()
        self.rewinds: list[Callable[[], None]] = []
        self.parting: Parting | None = None

    def _referred(self, *, nudged: bool = False) -> Side:
        twin = twin_of(self.mine.modules)
        slots = naming.slots_of(twin)
        if nudged:
            nudge([slot.tensor for slot in slots])
        with random_streams_kept():
            step = self.reference(next(iter(twin.values())) if self.single else twin)
        if not callable(step):
            msg = f"reference must return the reference step, a callable without arguments, not {type(step).__name__}"
            raise TrainStepUsageError(msg)
        for optimizer in optimizers_of(twin):
            _unshare(optimizer, self.optimizers)
        side = Side(twin, slots, step)
        side.start = side.now = compare.values_of(slots)
        return side

    def run(self, steps: int, rtol: float) -> list[compare.Gap]:
        """Call both `steps` times; note where they part, and return how far apart they end."""
        self.mine.start = self.mine.now = compare.values_of(self.mine.slots)
        for call in range(1, steps + 1):
            mine, theirs = self.mine.now, self.theirs.now
            lr_before, known = self._rates(), self.stage.known
            self.rewinds.append(random_states())
            self._call(self.mine)
            onward, place = random_states(), positions()
            self.rewinds[-1]()
            self._call(self.theirs)
            streams_apart = place != positions()
            onward()
            if self.parting is not None:
                continue
            gaps = compare.gaps(self.mine.slots, mine, self.mine.now, self.theirs.now, other_start=theirs)
            if compare.beyond(gaps, compare.limits(gaps, rtol)):
                self.parting = Parting(
                    call=call,
                    gaps=gaps,
                    mine=self.mine.heard,
                    theirs=self.theirs.heard,
                    lr_before=lr_before,
                    standing=self.mine.standing,
                    streams_apart=streams_apart,
                    rebuilt=call > 1 and self.stage.known > known,
                )
        ends = self.mine.now, self.theirs.now
        return compare.gaps(self.mine.slots, self.mine.start, *ends, other_start=self.theirs.start, steps=steps)

    def _call(self, side: Side) -> None:
        ear = Ear([slot.tensor for slot in side.slots])
        if side is self.mine:
            ear.meet = self.stage.adopt
        with listening(ear):
            side.step()
        side.heard, side.now, side.standing = ear.heard, compare.values_of(side.slots), ear.standing()

    def _rates(self) -> dict[int, float]:
        number = {id(slot.tensor): index for index, slot in enumerate(self.mine.slots)}
        return {
            number[id(tensor)]: float(group.get("lr") or 0.0)
            for optimizer in self.optimizers
            for group in optimizer.param_groups
            for tensor in group["params"]
            if id(tensor) in number
        }

    def noise(self) -> dict[str, float]:
        """Return how far the reference itself goes astray when its start is nudged by one rounding error.

        Nothing where it does not come to the same end a second time: then it is no measure of noise.
        """
        self.stage.restore()
        kept = random_states()
        first = self.theirs.start, self.theirs.now
        try:
            again = self._again(nudged=False)
            if any(compare.distances(self.mine.slots, again, first).values()):
                return {}
            return compare.distances(self.mine.slots, self._again(nudged=True), first)
        except Exception:  # noqa: BLE001 - a reference that runs only once has no measure of its noise
            return {}
        finally:
            kept()

    def _again(self, *, nudged: bool) -> tuple[compare.Values, compare.Values]:
        side = self._referred(nudged=nudged)
        for rewind in self.rewinds:
            rewind()
            side.step()
        return side.start, compare.values_of(side.slots)


def _unshare(optimizer: Any, others: Sequence[Any]) -> None:
    """Give an optimizer a state of its own: `load_state_dict` keeps the very tensors of a state_dict."""
    states = [state for other in others for state in other.state.values()]
    theirs = {id(value) for state in states for value in _values(state) if isinstance(value, torch.Tensor)}
    for state in optimizer.state.values():
        if isinstance(state, dict):
            state.update({key: value.clone() for key, value in state.items() if id(value) in theirs})


def _values(state: object) -> list[object]:
    return list(state.values()) if isinstance(state, Mapping) else []
