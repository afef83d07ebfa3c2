"""One optimizer, followed through one test: its steps, what moved, and why something did not."""

from __future__ import annotations

import contextlib
import math
import weakref
from collections.abc import Sequence
from typing import Any

import torch

from pytest_trainstep._heard import Group, Heard

from . import origins, owners, ratios, registry, sites
from .kept import Kept, measurable
from .orphans import Orphans
from .owners import shapes_of, tensors_of
from .unstepped import Unstepped
from .witness import Witness

_WITNESSES = 4  # groups whose gradient is followed
_SCANS = 3  # backward passes after which gradients are looked for, of an optimizer that has not stepped
_SOME = 8  # gradients that are looked at to see that any is not zero
_STUCK = 6  # names of tensors that are kept


class Following:
    """Holds the optimizer weakly and its tensors only while a step runs."""

    def __init__(self, optimizer: Any, *, built_here: bool, pictures: bool) -> None:
        self.ref = weakref.ref(optimizer)
        self.heard = Heard(name=type(optimizer).__name__, built_at=origins.birthplace(optimizer), built_here=built_here)
        self.kept = Kept()
        self.reached: set[int] = set()  # tensors that had a gradient after a backward pass
        self._alive: set[int] = set()  # groups in which one of these gradients was not zero
        self._orphans = Orphans(optimizer, built_here=built_here)
        self.pictures = pictures
        self.clock = 0  # of the session, when its step was entered
        self._witnesses: list[Witness] = []
        self.entered = 0  # steps that were begun
        self._depth = 0
        self._frame = 0
        self._scans = 0
        self._unstepped: Unstepped | None = None  # its weights before the first backward pass, until it steps
        self.unheard: str | None = None  # why no step could be heard, while its tensors were reached
        self.handled = False  # written in or after a backward pass without a step: a fused update, or one by hand
        self._verdict = ""
        self.blind = False  # something of it could not be looked at
        self._unseen: set[int] = set()  # groups that could not
        self._bad: set[int] = set()  # tensors that were not finite when it began

    @property
    def waiting(self) -> bool:
        """A group of it has not moved yet."""
        return not self.entered or not self.kept.all_settled

    # -- steps -----------------------------------------------------------------------------

    def before_step(self, optimizer: Any, *, closure: bool, clock: int) -> None:
        """Look at lr and gradients, and copy the weights."""
        if self._depth and sites.is_around(self._frame):
            self._depth += 1  # a `step` that calls `super().step()`: the outermost call is the step
            return
        self._depth, self._frame = 1, sites.step_frame()
        try:
            self._enter(optimizer, closure=closure, clock=clock)
        except Exception:
            self.blind = True  # whether it moves can no longer be told
            raise

    def _enter(self, optimizer: Any, *, closure: bool, clock: int) -> None:
        heard = self.heard
        if self.kept.read(optimizer.param_groups):
            self._regroup(optimizer)
        heard.stepped_at = heard.stepped_at or sites.here()
        self._unstepped = None
        self.entered += 1  # it counts as a step when it has come back and was looked at
        heard.closure = heard.closure or closure
        for group, given in zip(heard.groups, optimizer.param_groups, strict=True):
            _note_lr(group, given.get("lr"))
        self._verdict = "" if closure else self._gradients(optimizer, clock)
        self.kept.take(whole=self._pictured)

    @property
    def _pictured(self) -> bool:
        return self.pictures and _power_of_two(self.heard.steps + 1)

    def _regroup(self, optimizer: Any) -> None:
        groups = optimizer.param_groups
        self.heard.tensors = len(self.kept.params)
        while len(self.heard.groups) < len(groups):
            self.heard.groups.append(Group())
        del self.heard.groups[len(groups) :]
        for number, group in enumerate(self.heard.groups):
            tensors = self.kept.group(number)
            group.tensors, group.elements = len(tensors), sum(map(_numel, tensors))
        self._witnesses = []

    def _gradients(self, optimizer: Any, clock: int) -> str:
        """Tell whether this step uses gradients that an earlier one has used."""
        if not self._witnesses:
            self._choose_witnesses(clock)
        verdicts = [witness.verdict(optimizer) for witness in self._witnesses]
        return next((verdict for verdict in verdicts if verdict), "")

    def _choose_witnesses(self, clock: int) -> None:
        for number in range(min(_WITNESSES, len(self.heard.groups))):
            tensors = self.kept.group(number)
            having = [i for i, tensor in enumerate(tensors) if tensor.is_leaf and tensor.grad is not None]
            if having:
                index = min(having, key=lambda i: tensors[i].numel())
                known = clock if id(tensors[index]) in self.reached else 0  # else put there by hand, or long ago
                self._witnesses.append(Witness(number, index, tensors[index], known))

    def after_step(self, optimizer: Any, *, ran_backward: bool) -> None:
        """See what moved; where nothing did, see why."""
        if self._depth > 1:
            self._depth -= 1
            return
        if not self._depth:
            return
        self._depth = 0
        try:
            self._leave(optimizer, ran_backward=ran_backward)
        except Exception:
            self.blind = True
            self.kept.release(moved=True)
            raise

    def _leave(self, optimizer: Any, *, ran_backward: bool) -> None:
        heard, pictured = self.heard, self._pictured
        moved = self.kept.compare()
        heard.steps += 1
        heard.closure_backward = heard.closure_backward or ran_backward
        heard.reused += self._verdict == "reused"
        heard.leftover += self._verdict == "leftover"
        for witness in self._witnesses:
            witness.leave(optimizer, used=moved is not False)
        if moved is False:
            heard.noop_steps += 1
        if pictured:
            ratios.add(heard.curves, self.kept, heard.steps, self._label)
        if _power_of_two(heard.steps) or (moved is False and heard.noop_steps < _SCANS):
            self._look_closer(optimizer)
        self.kept.release(moved=moved is not False)

    def miss(self, why: str) -> None:
        """A step or a backward pass of it cannot be looked at: nothing is said of what has not been seen to move."""
        self.blind = True
        self.unheard = self.unheard or why

    def skip(self, optimizer: Any, *, reported: bool) -> None:
        """A gradient scaler has left out its step; a fused optimizer has reported one all the same."""
        heard = self.heard
        if self.kept.read(optimizer.param_groups):
            self._regroup(optimizer)
        heard.skipped += 1
        heard.stepped_at = heard.stepped_at or sites.here()
        if reported and heard.noop_steps:
            heard.steps -= 1
            heard.noop_steps -= 1
        for group, given in zip(heard.groups, optimizer.param_groups, strict=True):
            _note_lr(group, given.get("lr"))
        self.kept.release(moved=True)

    # -- why -------------------------------------------------------------------------------

    def _look_closer(self, optimizer: Any) -> None:
        kept = self.kept
        for number, group in enumerate(self.heard.groups):
            group.updated = group.updated or kept.settled[number]
            if kept.settled[number]:
                continue
            if kept.looked_at(number):
                self._ask_why(optimizer, number)
            else:
                self._unseen.add(number)
        if not self.heard.non_finite:
            self._look_for_nan()
        self._orphans.look(optimizer, kept, self.reached, self.heard)

    def _look_for_nan(self) -> None:
        """Find weights that are not finite now and were finite before its first step in this test."""
        if _finite([tensor.detach() for tensor in self.kept.params if measurable(tensor)]):
            return
        bad = {  # what it was before this step, by identity
            id(tensor): self.kept.before(number)
            for number, tensor in enumerate(self.kept.params)
            if measurable(tensor) and not _finite([tensor.detach()])
        }
        if self.heard.steps == 1:
            self._bad = {key for key, before in bad.items() if before is not None and not _finite([before])}
        self.heard.non_finite = not bad.keys() <= self._bad

    def _ask_why(self, optimizer: Any, number: int) -> None:
        """A group has not moved yet: see how its gradients stand at this step."""
        from . import twins, unmoved  # with the replay, which most suites never need

        group, tensors = self.heard.groups[number], self.kept.group(number)
        rewritten = any(witness.rewritten for witness in self._witnesses if witness.number == number)
        unmoved.tally(group, tensors, optimizer, reached=self.reached, alive=number in self._alive, rewritten=rewritten)
        if not group.stuck and self.heard.backward_before and group.stands.get("none", 0) == len(tensors):
            group.twin = twins.with_gradients(tensors, self.kept.params)
        if not group.stuck:
            numbers = {id(tensor): index for index, tensor in enumerate(self.kept.params)}
            group.stuck = tuple(self._label(numbers[id(tensor)]) for tensor in tensors[:_STUCK])

    def _label(self, index: int) -> str:
        tensor = self.kept.params[index]
        name = registry.name_of(tensor)
        return name or f"#{index}"

    # -- backward passes -------------------------------------------------------------------

    def before_backward(self) -> None:
        """See `taps.Watcher`."""
        optimizer = self.ref()
        if optimizer is not None:
            for witness in self._witnesses:
                witness.sync(optimizer)
            if self.heard.built_here and not self.entered and not self._scans:
                self._unstepped = Unstepped(optimizer)

    def _see_writes(self) -> None:
        """Notice that weights are written although it has not stepped."""
        if self._unstepped is not None and not self.handled:
            self.handled = self._unstepped.written(self.ref())

    def after_backward(self, clock: int) -> None:
        """Note which tensors have a gradient now, as long as that may explain something."""
        optimizer = self.ref()
        if optimizer is None:
            return
        for witness in self._witnesses:
            witness.grow(optimizer, clock)
        if not self.waiting or self._scans >= _SCANS * (8 if self.entered else 1):
            return
        self._scans += 1
        self._see_writes()
        fresh = False
        for number, group in enumerate(optimizer.param_groups):
            having = [one for one in group["params"] if one.is_leaf and one.grad is not None]
            if number not in self._alive and _any(having):
                self._alive.add(number)
            fresh = fresh or any(id(tensor) not in self.reached for tensor in having)
            self.reached.update(map(id, having))
        if fresh and not self.entered:
            self.unheard = self.unheard or owners.why_unobserved(optimizer)  # a mock may be gone when the test ends

    def differentiated(self, inputs: Sequence[Any]) -> None:
        """Note that gradients of its tensors, or of copies of all of them, were asked for without `backward`."""
        optimizer = self.ref()
        if optimizer is None or not self.waiting:
            return
        tensors = tensors_of(optimizer)
        own = not set(map(id, tensors)).isdisjoint(map(id, inputs))
        copies = False
        with contextlib.suppress(Exception):  # a nested tensor has no shape, an edge of the graph neither
            copies = shapes_of(inputs) == shapes_of(tensors)
        self.heard.differentiated = self.heard.differentiated or own or copies

    def close(self) -> Heard:
        """Write down what is known at the end."""
        heard, optimizer = self.heard, self.ref()
        self._see_writes()
        for number, (group, settled) in enumerate(zip(heard.groups, self.kept.settled, strict=False)):
            unknown = self.blind or number in self._unseen
            group.updated = group.updated or settled or (None if unknown else False)
            if settled:
                group.stands, group.stuck, group.wrote = {}, (), ""
        self._orphans.close(self.kept, heard)
        if optimizer is not None and not heard.steps:
            heard.tensors = sum(len(group["params"]) for group in optimizer.param_groups)
        return heard


def _note_lr(group: Group, value: object) -> None:
    if not isinstance(value, int | float):
        if not isinstance(value, torch.Tensor) or value.numel() != 1:
            return
        value = float(value.detach())
    low, high = group.lr or (value, value)
    if group.lr is None or not low <= value <= high:
        group.lr = (float(min(low, value)), float(max(high, value)))
    group.lr_zero += value == 0


def _finite(tensors: list[torch.Tensor]) -> bool:
    norms = torch._foreach_norm(tensors) if tensors else ()  # noqa: SLF001 - as in ratios
    pairs = zip(tensors, norms, strict=True)
    # a norm may overflow where no element does
    return all(math.isfinite(norm) or bool(torch.isfinite(tensor).all()) for tensor, norm in pairs)


def _any(tensors: list[Any]) -> bool:
    """Tell whether one of the gradients has an element that is not 0."""
    return any(bool(tensor.grad.any()) for tensor in tensors[:_SOME] if measurable(tensor.grad))


def _power_of_two(number: int) -> bool:
    return number & (number - 1) == 0


def _numel(tensor: Any) -> int:
    try:
        return int(tensor.numel())
    except Exception:  # noqa: BLE001 - a lazy parameter has no size yet
        return 0
