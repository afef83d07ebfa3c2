"""One watch: hears the events, keeps the stories, and writes the record when it ends."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn

from pytest_trainstep._record import BackwardEvent, Occasion, StepEvent

from . import graph, measures, naming, shadow, sites, snapshots, taps
from .gradients import Ledger
from .stepping import EVENT_LIMIT, OCCASION_LIMIT, Held, Stepping

_WALKS_PER_SITE = 2


@dataclass(slots=True)
class Foreign:
    """A leaf that a backward pass reached and that no watched model registers."""

    tensor: torch.Tensor
    before: snapshots.Snapshot
    reached: int = 1


class _Pass(NamedTuple):
    """A backward pass that has begun."""

    number: int
    at: str | None
    roots: tuple[str, ...]
    depth: int


class Session:
    """Watches one model, several, or a mapping of tensors, from `begin` to `end`."""

    def __init__(self, model: Any = None, *, params: Any = None, buffers: bool = False) -> None:
        self.notes: list[str] = []
        self.getter = None if params is None else naming.mapping_getter(params)
        self.modules: dict[str, nn.Module] = {}
        if self.getter is None:
            self.modules = naming.modules_of(model)
            self.slots = naming.slots_of(self.modules)
            if buffers:
                self.slots += naming.buffer_slots_of(self.modules)
        else:
            self.slots = naming.slots_of_mapping(self.getter())
        self.call = 1
        self.step_count = 0
        self.order = 0
        self.steps: list[StepEvent] = []
        self.backwards: list[BackwardEvent] = []
        self.held: dict[int, Held] = {}
        self.foreign: dict[int, Foreign] = {}
        self.differentiated_shapes: list[tuple[tuple[int, ...], ...]] = []
        self.losses: list[torch.Tensor] = []
        self.stepping = Stepping(self)
        self._walked: dict[object, int] = {}
        self.failed_backwards = 0
        self.backward_at_call = 0
        self.failed_backward: str | None = None
        self._open_columns()

    def _open_columns(self) -> None:
        """Lay out what is noted for each parameter, by its number."""
        self.settled: list[bool] = []  # moved, in an optimizer step, by a gradient
        self.step_moved: list[bool] = []
        self.arrived: list[int] = []  # the last backward pass, since the last step, that left something else than zeros
        self.outside: list[bool] = []
        self.replaced: list[bool] = []
        self.trainable: list[bool] = []
        self.frozen: set[int] = set()
        self.first_moved: list[int | None] = []
        self.lr: list[float | None] = []
        self.maximum: list[float | None] = []
        self.decay: list[float] = []
        self.gradient: list[str] = []
        self.holders: list[set[int]] = []
        self.occasions: list[list[Occasion]] = []
        self.unsettled: set[int] = set()
        self.in_graph: set[int] = set()
        self.last: dict[int, snapshots.Snapshot] = {}  # newer values of those that moved unhealthily
        self.touched_elements: dict[int, tuple[int, int]] = {}
        self.underflow: dict[int, shadow.Verdict] = {}
        self.gone: set[int] = set()  # no longer in any watched model

    # -- beginning -------------------------------------------------------------------------

    def begin(self) -> None:
        """Take the snapshots and attach to torch."""
        self.tensors = [slot.tensor for slot in self.slots]
        self.index = {id(tensor): i for i, tensor in enumerate(self.tensors)}
        self.before = snapshots.take(self.tensors)
        self.changes = 0  # of `index`
        self._empty: set[int] = set()  # without any values yet: lazy modules
        self._extend(self.tensors)
        self.ledger = Ledger(self.tensors)
        taps.attach(self)

    def stop(self) -> None:
        """Detach from torch; the stories stay."""
        taps.detach(self)

    # -- the models may change under our eyes ----------------------------------------------

    def refresh(self) -> None:
        """Notice parameters that were replaced, added, or filled in (lazy modules)."""
        present = [one.tensor if one.holder is None else one.holder.get(one.key) for one in self.slots]
        if not all(map(operator.is_, present, self.tensors)):
            for index, slot in enumerate(self.slots):
                now = slot.current()
                if now is not None and now is not self.tensors[index]:
                    self._rebind(index, now)
        for index in tuple(self._empty):
            self._fill_in(index)

    def _rebind(self, index: int, now: torch.Tensor) -> None:
        self.changes += 1
        self.index.pop(id(self.tensors[index]), None)
        self.index[id(now)] = index
        self.replaced[index] = True
        self.trainable[index] = self.trainable[index] or now.requires_grad
        self.ledger.rebind(index, now)  # the ledger shares the list of tensors

    def _fill_in(self, index: int) -> None:
        tensor = self.tensors[index]
        if snapshots.readable(tensor):
            self._empty.discard(index)
            self.before[index] = snapshots.take([tensor])[0]
            self.trainable[index] = self.trainable[index] or tensor.requires_grad

    def adopt(self, *, reached: bool = False) -> None:
        """Take up what was registered after watching began: new parameters, and new layers under old names.

        With `reached`, a backward pass has just asked for them: what counts is whether they move from now on.
        """
        known = {slot.raw: number for number, slot in enumerate(self.slots)}
        present = naming.slots_of(self.modules)
        for slot in present:
            if id(slot.tensor) in self.index:
                continue
            self.foreign.pop(id(slot.tensor), None)
            if slot.raw in known:
                self._move_in(known[slot.raw], slot, reached=reached)
                continue
            self.changes += 1
            self.slots.append(slot)
            self.tensors.append(slot.tensor)
            self.index[id(slot.tensor)] = len(self.slots) - 1
            self.before.extend(snapshots.take([slot.tensor]))
            self.ledger.grow(slot.tensor, slot.tensor.grad)
            self._extend([slot.tensor])
        listed = {id(slot.tensor) for slot in present}
        numbered = enumerate(zip(self.slots, self.tensors, strict=True))
        self.gone = {number for number, (slot, tensor) in numbered if not slot.buffer and id(tensor) not in listed}

    def _move_in(self, index: int, slot: naming.Slot, *, reached: bool) -> None:
        """Another layer stands where the one of this parameter stood."""
        self.slots[index].holder, self.slots[index].key = slot.holder, slot.key
        self._rebind(index, slot.tensor)
        if reached:
            self.before[index] = snapshots.take([slot.tensor])[0]
            self.last.pop(index, None)

    def _extend(self, tensors: Sequence[torch.Tensor]) -> None:
        """Open the stories of these parameters, which come last in `slots`."""
        size = len(tensors)
        start = len(self.trainable)
        self._empty.update(i for i in range(start, start + size) if self.before[i].empty)
        self.unsettled.update(range(len(self.trainable), len(self.trainable) + size))
        self.frozen.update(len(self.trainable) + i for i, one in enumerate(tensors) if not one.requires_grad)
        self.trainable += [tensor.requires_grad for tensor in tensors]
        for flags in (self.settled, self.step_moved, self.outside, self.replaced):
            flags.extend([False] * size)
        self.arrived += [0] * size
        self.first_moved += [None] * size
        self.lr += [None] * size
        self.maximum += [None] * size
        self.decay += [0.0] * size
        self.gradient += ["none"] * size
        self.holders += [set() for _ in tensors]
        self.occasions += [[] for _ in tensors]

    def note_trainable(self) -> None:
        """Notice what was thawed since watching began; trainable is what requires a gradient at some step."""
        for index in tuple(self.frozen):
            if self.tensors[index].requires_grad:
                self.trainable[index] = True
                self.frozen.discard(index)

    # -- backward passes -------------------------------------------------------------------

    def before_backward(self, roots: Sequence[Any]) -> object:
        """See `taps.Watcher`."""
        roots = as_list(roots)
        number = self.ledger.enter()
        at = sites.here()
        names = graph.node_names(roots)
        self._walk(roots, (at, names[:1], min(self.call, _WALKS_PER_SITE + 1)))
        self._keep_loss(roots)
        return _Pass(number, at, names, self.ledger.running - 1)

    def after_backward(self, token: object, error: BaseException | None = None) -> None:
        """See `taps.Watcher`."""
        assert isinstance(token, _Pass)
        number, at, roots, depth = token
        reached = self.ledger.leave(number)
        if error is not None and not reached:
            self.failed_backwards += 1
            self.failed_backward = f"{type(error).__name__}: {_first_line(error)}"
            return
        self._look_at_arrivals()
        self.order += 1
        event = BackwardEvent(
            number=number,
            call=self.call,
            at=at,
            roots=roots,
            depth=depth,
            reached=reached,
            detached_root="leaf" in roots,
            in_step=self.stepping.current(),
            order=self.order,
        )
        if len(self.backwards) < EVENT_LIMIT:
            self.backwards.append(event)

    def _look_at_arrivals(self) -> None:
        """Note which of the unsettled parameters got something else than zeros."""
        if self.ledger.running:
            return
        new = [i for i in self.unsettled if self.ledger.newly(i) and self.ledger.newest(i) != self.arrived[i]]
        grads = [self.tensors[index].grad for index in new]
        maxima = measures.largest([grad for grad in grads if grad is not None])
        if len(maxima) == len(new):
            for index, largest in zip(new, maxima, strict=True):
                self.arrived[index] = self.ledger.newest(index) if largest else 0

    def _keep_loss(self, roots: Sequence[Any]) -> None:
        root = roots[0] if roots else None
        if not isinstance(root, torch.Tensor) or root.numel() != 1 or self.ledger.running > 1:
            return
        if len(self.losses) < EVENT_LIMIT and root.device.type != "meta":
            self.losses.append(root.detach())

    def _walk(self, roots: Sequence[Any], place: object) -> None:
        """Look for leaves that are nobody's: twice for each line and kind of loss, no more."""
        self._walked[place] = times = self._walked.get(place, 0) + 1
        if times > _WALKS_PER_SITE or not self.modules:
            return
        found = graph.leaves(roots)
        if found is None:
            self.notes.append("the graph is too large to look for unregistered parameters in it")
            return
        self.in_graph.update(self.index[key] for key in found if key in self.index)
        strangers = [leaf for key, leaf in found.items() if key not in self.index]
        if strangers:
            self.refresh()
            self.adopt(reached=True)
        for leaf in strangers:
            if id(leaf) in self.index:
                continue
            if id(leaf) in self.foreign:
                self.foreign[id(leaf)].reached += 1
            elif isinstance(leaf, torch.Tensor):
                self.foreign[id(leaf)] = Foreign(leaf, snapshots.take([leaf.detach()])[0])

    def differentiated(self, inputs: Sequence[Any]) -> None:
        """See `taps.Watcher`."""
        tensors = [one for one in as_list(inputs) if isinstance(one, torch.Tensor)]
        foreign = tensors and not any(id(one) in self.index for one in tensors)
        if foreign and len(self.differentiated_shapes) < OCCASION_LIMIT:
            self.differentiated_shapes.append(tuple(tuple(one.shape) for one in tensors))

    # -- optimizer steps -------------------------------------------------------------------

    def before_step(self, optimizer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """See `taps.Watcher`."""
        self.stepping.before_step(optimizer, args, kwargs)

    def after_step(self, optimizer: Any) -> None:
        """See `taps.Watcher`."""
        self.stepping.after_step(optimizer)

    def step_skipped(self, optimizer: Any, *, reported: bool) -> None:
        """See `taps.Watcher`."""
        self.stepping.step_skipped(optimizer, reported=reported)

    # -- calls of the user's step ----------------------------------------------------------

    def next_call(self, call: int) -> None:
        """The user's step_fn is about to be called for the `call`-th time."""
        self.call = call
        self.backward_at_call = self.ledger.backward

    def end_call(self, moved: Sequence[bool] | None = None) -> None:
        """It has returned: see what differs from the beginning (if that is not known), and what moved outside the steps."""
        self.refresh()
        still = [i for i in range(len(self.slots)) if self.first_moved[i] is None]
        if moved is None:
            before = [self.before[index] for index in still]
            differing = snapshots.differing(before, [self.tensors[index] for index in still])
            now = [one.changed > 0 for one in differing]
        else:
            now = [moved[index] for index in still]
        for index, differs in zip(still, now, strict=True):
            if differs:
                self.first_moved[index] = self.call
        if self.unsettled:
            self.see_outside_moves(self.unsettled)

    def see_outside_moves(self, indices: Iterable[int]) -> None:
        """Note which of these have moved since they were last looked at, by no observed step."""
        looked = list(indices)
        for index, difference in zip(looked, self.differences(looked), strict=True):
            if difference.changed:
                self.note_move(index, in_step=False)

    def differences(self, indices: list[int]) -> list[snapshots.Difference]:
        """Compare these with what they were when last looked at."""
        before = [self.last.get(index, self.before[index]) for index in indices]
        return snapshots.differing(before, [self.tensors[index] for index in indices])

    def note_move(self, index: int, *, in_step: bool) -> None:
        """Remember that a parameter has moved, and what it is now (while that still matters)."""
        if in_step:
            self.step_moved[index] = True
        else:
            self.outside[index] = True
        if index in self.unsettled:
            self.last[index] = snapshots.take([self.tensors[index]])[0]


def as_list(tensors: Any) -> list[Any]:
    """Autograd takes one tensor or a sequence of them."""
    return [tensors] if isinstance(tensors, torch.Tensor) else list(tensors)


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0][:120]
