"""The audit's ear: hears every optimizer step and backward pass of a session, and files them under what runs.

It watches optimizers and knows no model. Nothing of the user's is held longer than a step.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch

from pytest_trainstep._heard import Heard, Subject

from . import origins, owners, ratios, registry, taps
from .following import Following
from .owners import tensors_of

_KNOWN_LIMIT = 256  # living optimizers of earlier tests that may still be stepped
_FOLLOWED_LIMIT = 32  # at once; those that are gone are filed then


class _Open:
    """A test or a fixture that is running."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.following: dict[int, Following] = {}
        self.filed: dict[tuple[object, ...], Heard] = {}
        self.idle: list[tuple[Heard, set[int]]] = []  # built here, reached by a gradient, never stepped
        self.stepped: set[int] = set()  # ids of tensors that an optimizer has stepped
        self.losses = ratios.Losses()
        self.met = False  # the optimizers that were there before


class Overhearer:
    """Attached for as long as torch is there; `open` and `close` say what runs."""

    def __init__(self, *, pictures: bool) -> None:
        self.notes: list[str] = []
        self._pictures = pictures
        self._open: list[_Open] = []
        self._clock = 0
        self._undo: list[Callable[[], object]] = []

    def install(self) -> None:
        """Attach to torch."""
        if self._undo:
            return
        self._undo.append(registry.install())
        taps.overhear(self)
        self._undo.append(lambda: taps.detach(self))
        origins.observers.append(self._born)
        self._undo.append(lambda: origins.observers.remove(self._born))

    def remove(self) -> None:
        """Undo `install`."""
        while self._undo:
            self._undo.pop()()

    # -- what runs -------------------------------------------------------------------------

    def open(self, subject: Subject) -> None:
        """Everything heard from now on belongs to `subject`."""
        self._open.append(_Open(subject))

    def close(self, subject: Subject) -> Subject:
        """The last one opened has ended: write into it all that was heard."""
        if not self._open or self._open[-1].subject is not subject:
            return subject
        subject = self._look(self._open.pop(), last=True)
        subject.notes = [*subject.notes, *dict.fromkeys(self.notes)]
        self.notes.clear()
        return subject

    def so_far(self) -> Subject | None:
        """Return what has been heard of the present one, while it goes on, if an optimizer in it never moved anything."""
        if not self._open:
            return None
        running = self._open[-1]
        still = any(one.entered and not any(one.kept.settled) for one in running.following.values())
        return self._look(running, last=False) if still or any(one.never for one in running.filed.values()) else None

    def _look(self, running: _Open, *, last: bool) -> Subject:
        subject = running.subject
        filed = running.filed if last else copy.deepcopy(running.filed)
        idle = list(running.idle)
        for following in running.following.values():
            heard = following.close()
            _file(following, heard if last else copy.deepcopy(heard), filed, idle, subject)
        for heard, reached in idle:
            if not reached & running.stepped:
                heard.reached = True
                _merge(filed, heard)
        subject.optimizers = list(filed.values())
        subject.losses = running.losses.points
        return subject

    # -- events ----------------------------------------------------------------------------

    def _born(self, optimizer: Any) -> None:
        if self._open:
            self._follow(self._open[-1], optimizer, built_here=True)

    def _follow(self, running: _Open, optimizer: Any, *, built_here: bool) -> Following:
        if len(running.following) >= _FOLLOWED_LIMIT:
            self._file_the_dead(running)
        found = running.following.get(id(optimizer))
        if found is not None:  # another one had lived at this place
            _file(found, found.close(), running.filed, running.idle, running.subject)
        following = Following(optimizer, built_here=built_here, pictures=self._pictures)
        running.following[id(optimizer)] = following
        return following

    def _file_the_dead(self, running: _Open) -> None:
        for key, following in tuple(running.following.items()):
            if following.ref() is None:
                _file(following, following.close(), running.filed, running.idle, running.subject)
                del running.following[key]

    def _found(self, running: _Open, optimizer: Any) -> Following:
        following = running.following.get(id(optimizer))
        if following is None or following.ref() is not optimizer:
            following = self._follow(running, optimizer, built_here=False)
        return following

    def before_step(self, optimizer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """See `taps.Watcher`."""
        if not self._open:
            return
        running = self._open[-1]
        following = self._found(running, optimizer)
        first = not following.entered
        unseen = _INTERCEPTED if _intercepted() else owners.why_mocked(optimizer) if first else None
        if unseen is not None:
            following.miss(unseen)
            running.stepped.update(map(id, tensors_of(optimizer)))
            return
        closure = taps.closure_of(args, kwargs) is not None
        with _out_of_sight():
            following.before_step(optimizer, closure=closure, clock=self._clock)
        if first:
            following.heard.backward_before = running.subject.backwards
            running.stepped.update(map(id, following.kept.params))
        following.clock = self._clock

    def after_step(self, optimizer: Any) -> None:
        """See `taps.Watcher`."""
        if not self._open or _intercepted():
            return
        following = self._open[-1].following.get(id(optimizer))
        if following is not None:
            with _out_of_sight():
                following.after_step(optimizer, ran_backward=self._clock > following.clock)

    def step_skipped(self, optimizer: Any, *, reported: bool = False) -> None:
        """See `taps.Watcher`."""
        if self._open:
            running = self._open[-1]
            self._found(running, optimizer).skip(optimizer, reported=reported)
            running.stepped.update(map(id, tensors_of(optimizer)))

    def before_backward(self, roots: Sequence[Any]) -> object:
        """See `taps.Watcher`."""
        if not self._open:
            return None
        running = self._open[-1]
        self._meet(running)
        if _intercepted():
            return None
        with _out_of_sight():
            for following in running.following.values():
                following.before_backward()
            if self._pictures:
                running.losses.hear(running.subject.backwards + 1, roots)
        return None

    def after_backward(self, token: object, error: BaseException | None) -> None:
        """See `taps.Watcher`."""
        del token
        self._clock += 1
        if not self._open:
            return
        running = self._open[-1]
        if error is None:
            running.subject.backwards += 1
        intercepted = _intercepted()
        with _out_of_sight():
            for following in running.following.values():
                if intercepted:
                    following.miss(_INTERCEPTED)
                else:
                    following.after_backward(self._clock)

    def _meet(self, running: _Open) -> None:
        """Follow the optimizers that were built before this test, as long as there are not too many."""
        if running.met:
            return
        running.met = True
        known = origins.known()
        if len(known) > _KNOWN_LIMIT:
            return
        for optimizer in known:
            if id(optimizer) not in running.following:
                self._follow(running, optimizer, built_here=False)

    def differentiated(self, inputs: Sequence[Any]) -> None:
        """See `taps.Watcher`."""
        if self._open:
            running = self._open[-1]
            self._meet(running)
            for following in running.following.values():
                following.differentiated(inputs)


_INTERCEPTED = "a TorchDispatchMode was active"
_IN_SIGHT = contextlib.nullcontext()


def _out_of_sight() -> contextlib.AbstractContextManager[object]:
    """Keep what we ask of tensors from a `TorchFunctionMode` of the test."""
    active = torch._C._len_torch_function_stack()  # noqa: SLF001 - no public way
    return torch._C.DisableTorchFunction() if active else _IN_SIGHT  # noqa: SLF001 - as above


def _intercepted() -> bool:
    """Tell whether somebody listens to every operation of torch: ours would be among them."""
    return bool(torch._C._len_torch_dispatch_stack())  # noqa: SLF001 - no public way


_Filed = dict[tuple[object, ...], Heard]


def _file(
    following: Following, heard: Heard, filed: _Filed, idle: list[tuple[Heard, set[int]]], subject: Subject
) -> None:
    if heard.steps or heard.skipped:
        heard.backward_after = subject.backwards - heard.backward_before
        _merge(filed, heard)
    elif _idle(following, subject):
        heard.unobserved = following.unheard
        if heard.unobserved is None:
            idle.append((heard, following.reached))


def _idle(following: Following, subject: Subject) -> bool:
    built = following.heard.built_here and subject.kind == "test"
    seen = bool(following.reached) and not following.handled and not following.blind
    return built and seen and not following.entered


def _merge(filed: _Filed, heard: Heard) -> None:
    """Put optimizers that were built at one line and fared alike into one row."""
    fared = tuple((group.updated, group.wrote, *sorted(group.stands)) for group in heard.groups)
    key = (
        heard.name,
        heard.built_at,
        heard.stepped_at,
        heard.never,
        heard.reached,
        heard.non_finite,
        heard.clockwork,
        fared,
    )
    known = filed.get(key)
    if known is None:
        filed[key] = heard
        return
    known.objects += heard.objects
    for name in ("steps", "noop_steps", "skipped", "reused", "leftover"):
        setattr(known, name, getattr(known, name) + getattr(heard, name))
    known.orphans = max(known.orphans, heard.orphans)
    for mine, other in zip(known.groups, heard.groups, strict=True):
        if mine.lr is not None and other.lr is not None:
            mine.lr = min(mine.lr[0], other.lr[0]), max(mine.lr[1], other.lr[1])
