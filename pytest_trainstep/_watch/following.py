"""One optimizer, followed through one test: its steps, what moved, and why something did not."""

from __future__ import annotations

import math
import sys
import weakref
from collections.abc import Sequence
from typing import Any

import torch

from pytest_trainstep._heard import Group, Heard

from . import origins, owners, ratios, registry, sites
from .kept import Kept, measurable
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
        self.lonely = registry.of_models(_tensors(optimizer)) if built_here else set()
        """Tensors that a model had when this was built, and that never had a gradient at a step."""
        self.loose = built_here and not self.lonely
        self.pictures = pictures
        self.clock = 0  # of the session, when its step was entered
        self._witnesses: list[Witness] = []
        self.entered = 0  # steps that were begun
        self._depth = 0
        self._frame = 0
        self._scans = 0
        self._clean: int | None = None  # how often its tensors had been written before the first backward pass
        self.unheard: str | None = None  # why no step could be heard, while its tensors were reached
        self.handled = False  # written in or after a backward pass without a step: a fused update, or one by hand
        self._verdict = ""
        self._blind = False

    @property
    def waiting(self) -> bool:
        """A group of it has not moved yet."""
        return not self.entered or not self.kept.all_settled

    # -- steps -----------------------------------------------------------------------------

    def before_step(self, optimizer: Any, *, closure: bool, clock: int) -> None:
        """Look at lr and gradients, and copy the weights."""
        if self._depth and sites.is_running(self._frame):
            self._depth += 1  # a `step` that calls `super().step()`: the outermost call is the step
            return
        self._depth, self._frame = 1, sites.step_frame()
        try:
            self._enter(optimizer, closure=closure, clock=clock)
        except Exception:
            self._blind = True  # whether it moves can no longer be told
            raise

    def _enter(self, optimizer: Any, *, closure: bool, clock: int) -> None:
        heard = self.heard
        if self.kept.read(optimizer.param_groups):
            self._regroup(optimizer)
        heard.stepped_at = heard.stepped_at or sites.here()
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
            self._blind = True
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
            witness.sync(optimizer)
            witness.consume()
        if moved is False:
            heard.noop_steps += 1
        if pictured:
            ratios.add(heard.curves, self.kept, heard.steps, self._label)
        if _power_of_two(heard.steps) or (moved is False and heard.noop_steps < _SCANS):
            self._look_closer(optimizer)
        self.kept.release(moved=moved is not False)

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
            if not kept.settled[number]:
                self._ask_why(optimizer, number)
        if not self.heard.non_finite:
            self.heard.non_finite = not _finite([tensor.detach() for tensor in kept.params if measurable(tensor)])
        self._look_for_orphans(optimizer)

    def _ask_why(self, optimizer: Any, number: int) -> None:
        """A group has not moved yet: see how its gradients stand at this step."""
        from . import unmoved  # with the replay, which most suites never need

        group, tensors = self.heard.groups[number], self.kept.group(number)
        rewritten = any(witness.rewritten for witness in self._witnesses if witness.number == number)
        unmoved.tally(group, tensors, optimizer, reached=self.reached, alive=number in self._alive, rewritten=rewritten)
        if not group.stuck:
            numbers = {id(tensor): index for index, tensor in enumerate(self.kept.params)}
            group.stuck = tuple(self._label(numbers[id(tensor)]) for tensor in tensors[:_STUCK])

    def _look_for_orphans(self, optimizer: Any) -> None:
        """Count tensors without any gradient that nobody but the optimizer holds.

        As long as something moves, a tensor that no model had may be meant to stand alone.
        """
        still = not any(self.kept.settled)
        if not (self.lonely or self.loose or still):
            return
        waiting = {
            id(tensor)
            for tensor in self.kept.params
            if tensor.requires_grad and tensor.is_leaf and tensor.grad is None and id(tensor) not in self.reached
        }
        self.lonely &= waiting
        number = self._number() if self.loose else None
        candidates = waiting if still else self.lonely
        self.kept.params = []  # our own list would be one holder more
        found = count_orphans(optimizer, candidates if number is None else {*candidates, number})
        self.kept.params = _tensors(optimizer)
        self.heard.clockwork = number is not None and any(found) and not self.lonely
        self.heard.orphans = 0 if self.heard.clockwork else sum(found)
        for group, orphans in zip(self.heard.groups, found, strict=True):
            group.orphans = orphans

    def _number(self) -> int | None:
        """Return the identity of the one tensor it holds, if that is a single number that never got a gradient."""
        tensors = self.kept.params
        if len(tensors) != 1 or tensors[0].grad is not None or id(tensors[0]) in self.reached:
            return None
        return id(tensors[0]) if _is_number(tensors[0]) else None

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
            if self._clean is None and not self.entered:
                self._clean = _writes(optimizer)

    def _see_writes(self) -> None:
        """Notice that weights are written although it has not stepped."""
        optimizer = self.ref()
        if optimizer is not None and not self.entered and self._clean is not None:
            self.handled = self.handled or _writes(optimizer) != self._clean

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
        tensors = _tensors(optimizer)
        own = not set(map(id, tensors)).isdisjoint(map(id, inputs))
        self.heard.differentiated = self.heard.differentiated or own or _shapes(inputs) == _shapes(tensors)

    def close(self) -> Heard:
        """Write down what is known at the end."""
        heard, optimizer = self.heard, self.ref()
        self._see_writes()
        for group, settled in zip(heard.groups, self.kept.settled, strict=False):
            group.updated = group.updated or settled or (None if self._blind else False)
            if settled:
                group.stands, group.stuck, group.wrote = {}, (), ""
        if any(self.kept.settled):
            heard.orphans = min(heard.orphans, len(self.lonely))
        if optimizer is not None and not heard.steps:
            heard.tensors = sum(len(group["params"]) for group in optimizer.param_groups)
        return heard


def _tensors(optimizer: Any) -> list[Any]:
    return [tensor for group in optimizer.param_groups for tensor in group["params"]]


def _shapes(tensors: Sequence[Any]) -> list[tuple[int, ...]]:
    return sorted(tuple(getattr(one, "shape", ())) for one in tensors)


def _writes(optimizer: Any) -> int:
    return sum(0 if tensor.is_inference() else tensor._version for tensor in _tensors(optimizer))  # noqa: SLF001 - as in kept


def count_orphans(optimizer: Any, candidates: set[int]) -> list[int]:
    """Count those of the tensors of each group that nothing else in Python refers to."""
    return [_count(group["params"], optimizer.state, candidates) for group in optimizer.param_groups]


def _count(params: list[Any], state: Any, candidates: set[int]) -> int:
    orphans = 0
    for tensor in params:
        if id(tensor) in candidates and registry.owner(tensor) is None:
            held = 3 + (tensor in state)  # the list, this loop, the call below
            orphans += sys.getrefcount(tensor) <= held
    return orphans


def _note_lr(group: Group, value: object) -> None:
    if not isinstance(value, int | float):
        if not isinstance(value, torch.Tensor) or value.numel() != 1:
            return
        value = float(value)
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


def _is_number(tensor: Any) -> bool:
    return not torch.nn.parameter.is_lazy(tensor) and bool(tensor.is_leaf) and tensor.numel() <= 1


def _numel(tensor: Any) -> int:
    try:
        return int(tensor.numel())
    except Exception:  # noqa: BLE001 - a lazy parameter has no size yet
        return 0
