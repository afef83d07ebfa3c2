"""Optimizer steps: how the gradients stood, what moved, and what should have and did not."""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from pytest_trainstep._record import Occasion, StepEvent

from . import measures, origins, shadow, sites, snapshots, taps

if TYPE_CHECKING:
    from .session import Session

OCCASION_LIMIT = 50  # of each parameter
HARDLY = 0.01  # of the elements with a gradient: fewer moved ones count as none
EVENT_LIMIT = 2_000  # steps and backward passes that are kept one by one
_USABLE = ("fresh", "mixed", "stale", "manual")


@dataclass(slots=True)
class Held:
    """One optimizer that was seen, and what became of it."""

    optimizer: Any
    index: int
    steps: int = 0
    skipped: int = 0
    stepped_at: str | None = None
    lrs: tuple[float | None, ...] = ()
    indices: list[int] = field(default_factory=list)  # each once
    groups: list[int] = field(default_factory=list)
    seen: object = None  # what `indices` and `groups` were made of
    read: object = None  # what was read from the groups last time
    alone: bool = False  # no other optimizer holds any of them
    stands: dict[int, str] = field(default_factory=dict)  # at its last step


@dataclass(slots=True)
class _Running:
    """An optimizer step that was entered and has not returned yet."""

    optimizer: Any
    held: Held
    closure: bool
    backward: int
    number: int
    at: str | None
    frame: int  # identity of the frame that runs it
    stands: dict[int, str] = field(default_factory=dict)
    maxima: dict[int, float] = field(default_factory=dict)


class Stepping:
    """The part of a session that hears optimizer steps."""

    def __init__(self, session: Session) -> None:
        # a cycle would keep the copies of the weights, and the model, until the garbage collector comes by
        self.session: Session = weakref.proxy(session)
        self._stacks: dict[int, list[_Running]] = {}

    def _hold(self, optimizer: Any) -> Held:
        held = self.session.held.get(id(optimizer))
        if held is None:
            held = self.session.held[id(optimizer)] = Held(optimizer, len(self.session.held))
        ids = [list(map(id, group["params"])) for group in optimizer.param_groups]
        seen = (self.session.changes, ids)
        if held.seen != seen:
            index = self.session.index
            numbers = {index[key]: number for number, group in enumerate(ids) for key in group if key in index}
            held.indices, held.groups = list(numbers), list(numbers.values())
            held.seen, held.read = seen, None
        return held

    def before_step(self, optimizer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """See `taps.Watcher`."""
        session = self.session
        stack = self._stack()
        for outer in stack:
            if outer.optimizer is optimizer and sites.is_around(outer.frame):
                stack.append(outer)  # a `step` that calls `super().step()`: the outermost call is the step
                return
        session.refresh()
        held = self._hold(optimizer)
        closure = taps.closure_of(args, kwargs) is not None
        session.step_count += 1
        held.steps += 1
        at = sites.here()
        held.stepped_at = held.stepped_at or at
        number = session.step_count
        running = _Running(optimizer, held, closure, session.ledger.backward, number, at, sites.step_frame())
        stack.append(running)
        origins.mark_stepped(optimizer)
        session.note_trainable()
        self._read_groups(held)
        session.ledger.sync()
        if not closure:
            self._classify(running)

    def _stack(self) -> list[_Running]:
        """The steps under way in this thread."""
        return self._stacks.setdefault(threading.get_ident(), [])

    def current(self) -> int | None:
        """Return the number of the step that is under way in this thread, if one is."""
        stack = self._stack()
        return stack[-1].number if stack and sites.is_running(stack[-1].frame) else None

    def _read_groups(self, held: Held) -> None:
        groups = held.optimizer.param_groups
        lrs = tuple(_number(group.get("lr")) for group in groups)
        decays = [_number(group.get("weight_decay")) or 0.0 for group in groups]
        held.lrs = lrs
        if held.alone and held.read == (lrs, decays):
            return
        held.read = (lrs, decays)
        for index, number in zip(held.indices, held.groups, strict=True):
            self.session.lr[index] = lrs[number]
            self.session.decay[index] = decays[number]
            self.session.holders[index].add(held.index)
        held.alone = all(len(self.session.holders[index]) == 1 for index in held.indices)
        if not held.alone:
            for other in self.session.held.values():
                other.alone = False

    def _classify(self, running: _Running) -> None:
        """Note how the gradients stand; look at their values only where it can matter."""
        indices, unsettled = running.held.indices, self.session.unsettled
        running.stands = stands = dict(zip(indices, self.session.ledger.stands(indices), strict=True))
        looked = [i for i in indices if i in unsettled and stands[i] not in ("none", "cleared")] if unsettled else []
        grads = [self.session.tensors[index].grad for index in looked]
        maxima = measures.largest([grad for grad in grads if grad is not None])
        for index, grad, largest in zip(looked, grads, maxima, strict=True):
            running.maxima[index] = self.session.maximum[index] = largest
            if largest == 0:
                stands[index] = self._kind_of_zero(index, grad)
                if not running.closure:  # a move before the step must not be laid at its door
                    self.session.see_outside_moves([index])
            elif not math.isfinite(largest):
                stands[index] = "non-finite"

    def _kind_of_zero(self, index: int, grad: torch.Tensor | None) -> str:
        arrived, newest = self.session.arrived[index], self.session.ledger.newest(index)
        if not arrived or newest not in (arrived, 0) or grad is None or grad.layout is not torch.strided:
            return "zero"
        return "scaled-to-zero" if measures.signs_left(grad) else "zeroed"

    def after_step(self, optimizer: Any) -> None:
        """See `taps.Watcher`."""
        session = self.session
        stack = self._stack()
        while stack and stack[-1].optimizer is not optimizer:
            stack.pop()  # a step that raised never came back
        if not stack:
            return
        running = stack.pop()
        if any(outer is running for outer in stack):
            return
        if running.closure:
            session.ledger.sync()
            self._classify(running)
        self._judge_step(running)
        self._file_step(running)
        session.ledger.consume(running.held.indices)
        for index in session.unsettled.intersection(running.held.indices):
            session.arrived[index] = 0

    def _judge_step(self, running: _Running) -> None:
        """See which of the unsettled parameters moved, and remember each that should have and did not."""
        session = self.session
        looked = [index for index in running.held.indices if index in session.unsettled] if session.unsettled else []
        self._note_stands(running, looked)
        hopeful: list[int] = []
        for index, difference in zip(looked, session.differences(looked), strict=True):
            if not self._settle(running, index, difference):
                self._remember(running, index, moved=difference.changed > 0)
                if running.stands.get(index) in _USABLE and session.lr[index] != 0:
                    hopeful.append(index)
        if hopeful:
            self._replay(running, hopeful)

    def _note_stands(self, running: _Running, looked: list[int]) -> None:
        session = self.session
        for index in looked:
            if session.trainable[index] and not session.tensors[index].requires_grad:
                running.stands[index] = "frozen"
        if not running.held.alone or running.held.stands != running.stands:
            for index in running.held.indices:
                session.gradient[index] = running.stands.get(index, "none")
            running.held.stands = running.stands

    def _settle(self, running: _Running, index: int, difference: snapshots.Difference) -> bool:
        """Take a parameter that was moved by its gradient off the list: nothing more to learn about it."""
        session = self.session
        if not difference.changed:
            return False
        if not self._by_gradient(running, index) or self._hardly(index, difference):
            session.note_move(index, in_step=True)
            return False
        session.step_moved[index] = True
        session.settled[index] = True
        session.unsettled.discard(index)
        session.last.pop(index, None)
        return True

    def _remember(self, running: _Running, index: int, *, moved: bool) -> None:
        occasions = self.session.occasions[index]
        if len(occasions) < OCCASION_LIMIT:
            occasions.append(self._occasion(running, index, moved=moved))

    def _by_gradient(self, running: _Running, index: int) -> bool:
        """Tell whether a gradient (or the step's own closure) can have moved it, not decay or momentum."""
        if running.closure and self.session.ledger.backward - running.backward > 1:
            return True
        stand = running.stands.get(index, "none")
        return stand in ("none", "cleared", "frozen") or running.maxima.get(index, 0.0) != 0

    def _hardly(self, index: int, difference: snapshots.Difference) -> bool:
        """Tell whether nearly none of the elements that received a gradient have moved."""
        if difference.changed >= HARDLY * difference.looked or difference.looked == 0:
            return False
        grad = self.session.tensors[index].grad
        before = self.session.before[index].copy
        if grad is None or before is None or grad.layout is not torch.strided:
            return False
        received = grad != 0
        count = int((received & (self.session.tensors[index].detach() != before)).sum())
        self.session.touched_elements[index] = total = (count, int(received.sum()))
        return total[0] < HARDLY * total[1]

    def _replay(self, running: _Running, indices: list[int]) -> None:
        """Ask a float64 twin of the optimizer what it wanted to write; once for each parameter."""
        new = [index for index in indices if index not in self.session.underflow]
        if not new:
            return
        tensors = [self.session.tensors[index] for index in new]
        for index, verdict in zip(new, shadow.verdicts(running.optimizer, tensors), strict=True):
            self.session.underflow[index] = verdict

    def _occasion(self, running: _Running, index: int, *, moved: bool) -> Occasion:
        state = getattr(running.optimizer, "state", {})
        return Occasion(
            step=running.number,
            call=self.session.call,
            optimizer=running.held.index,
            gradient=running.stands.get(index, "none"),
            grad_max=running.maxima.get(index),
            lr=self.session.lr[index],
            moved=moved,
            closure=running.closure,
            closure_ran_backward=self.session.ledger.backward > running.backward,
            backward_before=running.backward > self.session.backward_at_call,
            momentum=bool(state.get(self.session.tensors[index])) if isinstance(state, Mapping) else False,
        )

    def _file_step(self, running: _Running) -> None:
        self.session.order += 1
        if len(self.session.steps) >= EVENT_LIMIT:
            return
        words: dict[str, list[str]] = {}
        fresh = list(running.stands)
        if list(running.stands.values()).count("fresh") < len(fresh):
            fresh = [index for index in fresh if running.stands[index] == "fresh"]
            for index, stand in running.stands.items():
                if stand != "fresh":
                    words.setdefault(stand, []).append(self.session.slots[index].name)
        self.session.steps.append(
            StepEvent(
                number=running.number,
                call=self.session.call,
                optimizer=running.held.index,
                at=running.at,
                lrs=running.held.lrs,
                closure=running.closure,
                fresh=len(fresh),
                gradients={word: tuple(names) for word, names in words.items()},
                backward=self.session.ledger.backward,
                window=self.session.ledger.longest(fresh),
                order=self.session.order,
            )
        )

    def step_skipped(self, optimizer: Any, *, reported: bool) -> None:
        """See `taps.Watcher`."""
        session = self.session
        session.refresh()
        held = self._hold(optimizer)
        session.ledger.sync()
        self._read_groups(held)
        held.skipped += 1
        if reported:  # by a fused optimizer, which was entered and left without a change
            if session.steps and session.steps[-1].number == session.step_count:
                session.steps.pop()
            held.steps -= 1
            self._forget_last_occasion(held)
        else:
            session.step_count += 1
        session.order += 1
        if len(session.steps) < EVENT_LIMIT:
            session.steps.append(
                StepEvent(
                    number=session.step_count,
                    call=session.call,
                    optimizer=held.index,
                    at=sites.here(),
                    lrs=held.lrs,
                    skipped=True,
                    backward=session.ledger.backward,
                    order=session.order,
                )
            )
        for index in session.unsettled.intersection(held.indices):
            if len(session.occasions[index]) < OCCASION_LIMIT:
                session.occasions[index].append(self._skip(held, index))
        session.ledger.consume(held.indices)

    def _forget_last_occasion(self, held: Held) -> None:
        for index in held.indices:
            if self.session.occasions[index] and self.session.occasions[index][-1].step == self.session.step_count:
                self.session.occasions[index].pop()

    def _skip(self, held: Held, index: int) -> Occasion:
        return Occasion(
            step=self.session.step_count,
            call=self.session.call,
            optimizer=held.index,
            gradient="non-finite",
            grad_max=None,
            lr=self.session.lr[index],
            moved=False,
            skipped=True,
        )


def _number(value: object) -> float | None:
    """Turn an lr (a number, or a tensor of one element) into a float."""
    if isinstance(value, bool) or not isinstance(value, int | float | torch.Tensor):
        return None
    try:
        return float(value)
    except (RuntimeError, ValueError, TypeError):
        return None
