"""Hears gradients being clipped, and the loss scale that may still be in them.

`clip_grad_norm_` may have been imported by name, where no patch reaches it; but it looks up the function that does the
work in its own module each time, and that name is wrapped while a claim asks for it.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.utils import clip_grad

from pytest_trainstep._events import ClipEvent, UnscaledTwice
from pytest_trainstep._record import StepRecord

from . import measures, sites
from .gradients import ABSENT
from .owners import tensors_of
from .scout import Scout
from .stepping import EVENT_LIMIT

if TYPE_CHECKING:
    from .session import Session


_WORKER = "_clip_grads_with_norm_"  # since torch 2.6
_CLOSE = 1e-3  # how near to 1/scale a ratio of gradients is no coincidence


class Clipping(Scout):
    """Notes each clip of watched gradients, and gradients that are unscaled twice."""

    name = "clipping"

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.clips: list[ClipEvent] = []
        self.twice: list[UnscaledTwice] = []
        self._undo: list[Callable[[], None]] = []
        self._scaler: Any = None  # the scaler whose scale went into the loss of this window
        self._scaled_at = 0  # the number of backward passes before it
        self._unscaled: set[int] = set()  # tensors whose gradients have lost the scale again
        self._asked = False
        self._largest: dict[int, float] = {}  # of the gradients as backward left them

    def begin(self) -> None:
        """Wrap what the public functions and the scaler's methods lead to."""
        wrap(clip_grad, _WORKER, self._around_norm, self._undo)
        if not hasattr(clip_grad, _WORKER):
            self.notes.append("this torch does not let clip_grad_norm_ be observed: where it is called is not judged")
        for module in (clip_grad, torch.nn.utils):
            wrap(module, "clip_grad_value_", self._around_value, self._undo)
        scaler = getattr(torch.amp, "GradScaler", None)
        wrap(scaler, "scale", self._around_scale, self._undo)
        wrap(scaler, "unscale_", self._around_unscale, self._undo)
        wrap(scaler, "get_scale", self._around_get_scale, self._undo)

    def end(self) -> None:
        """Put everything back."""
        while self._undo:
            self._undo.pop()()

    # -- clips -----------------------------------------------------------------------------

    def _around_norm(self, original: Any, *args: Any, **kwargs: Any) -> Any:
        with self.guarded():
            parameters = kwargs.get("parameters", args[0] if args else ())
            limit = _number(kwargs.get("max_norm", args[1] if len(args) > 1 else None))
            norm = _number(kwargs.get("total_norm", args[2] if len(args) > 2 else None))  # noqa: PLR2004
            self._note(parameters, limit, shrank=norm > limit)
        return original(*args, **kwargs)

    def _around_value(self, original: Any, *args: Any, **kwargs: Any) -> Any:
        parameters = kwargs.get("parameters", args[0] if args else ())
        if not isinstance(parameters, torch.Tensor):
            parameters = list(parameters)  # a generator can be walked once only
            if args:
                args = (parameters, *args[1:])
            else:
                kwargs["parameters"] = parameters
        with self.guarded():
            limit = _number(kwargs.get("clip_value", args[1] if len(args) > 1 else None))
            self._note(parameters, limit, shrank=max(measures.largest(_grads(parameters)), default=0.0) > limit)
        return original(*args, **kwargs)

    def _note(self, parameters: Any, limit: float, *, shrank: bool) -> None:
        session = self.session
        tensors = [parameters] if isinstance(parameters, torch.Tensor) else list(parameters)
        indices = [session.index[id(one)] for one in tensors if id(one) in session.index]
        if not indices or len(self.clips) >= EVENT_LIMIT:
            return
        session.ledger.sync()
        present = [index for index in indices if session.ledger.versions[index] != ABSENT]
        waiting = sum(session.ledger.newly(index) or session.ledger.window[index] is None for index in present)
        event = ClipEvent(
            call=session.call,
            order=session.order,
            at=sites.here(),
            parameters=tuple(session.slots[index].name for index in indices),
            limit=limit,
            shrank=shrank,
            waiting=waiting,
            used=len(present) - waiting,
            scale=self._scale_in(present),
            unscaled_by_user=self._asked,
        )
        self.clips.append(event)

    def _scale_in(self, indices: list[int]) -> float | None:
        """Return the loss scale that all of these gradients still carry."""
        ledger = self.session.ledger
        fresh = [index for index in indices if ledger.newly(index) and index not in self._unscaled]
        if self._scaler is None or not fresh or ledger.backward <= self._scaled_at:
            return None
        scale = _scale_of(self._scaler)
        return scale if scale != 1 and len(fresh) == len(indices) else None

    # -- the scaler ------------------------------------------------------------------------

    def _around_scale(self, original: Any, scaler: Any, *args: Any, **kwargs: Any) -> Any:
        result = original(scaler, *args, **kwargs)
        with self.guarded():
            if scaler.is_enabled():
                self._scaler, self._scaled_at = scaler, self.session.ledger.backward
                self._asked = False
                self._unscaled.clear()
                self._largest.clear()
        return result

    def _around_get_scale(self, original: Any, scaler: Any, *args: Any, **kwargs: Any) -> Any:
        self._asked = True
        return original(scaler, *args, **kwargs)

    def _around_unscale(self, original: Any, scaler: Any, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        indices: list[int] = []
        with self.guarded():
            indices = [self.session.index[id(one)] for one in tensors_of(optimizer) if id(one) in self.session.index]
            if scaler.is_enabled() and not self._unscaled.intersection(indices):
                self._compare(scaler, optimizer, indices)
        result = original(scaler, optimizer, *args, **kwargs)
        self._unscaled.update(indices)
        return result

    def _compare(self, scaler: Any, optimizer: Any, indices: list[int]) -> None:
        """See whether the program has divided by the scale before."""
        scale = _scale_of(scaler)
        known = [index for index in indices if self._largest.get(index, 0.0) > 0]
        grads = [self.session.tensors[index].grad for index in known]
        now = measures.largest([grad for grad in grads if grad is not None])
        ratios = [after * scale / self._largest[index] for index, after in zip(known, now, strict=False)]
        if scale > 1 and ratios and all(abs(ratio - 1) < _CLOSE for ratio in ratios):
            held = self.session.held.get(id(optimizer))
            at = sites.here()
            event = UnscaledTwice(call=self.session.call, optimizer=held.index if held else None, at=at, scale=scale)
            self.twice.append(event)

    def after_backward(self, _token: object, _error: BaseException | None) -> None:
        """Remember how large the scaled gradients are."""
        session = self.session
        if self._scaler is None or session.ledger.running or session.ledger.backward <= self._scaled_at:
            return
        new = [index for index in range(len(session.slots)) if session.ledger.newly(index)]
        grads = [session.tensors[index].grad for index in new]
        values = measures.largest([grad for grad in grads if grad is not None])
        self._largest.update(zip(new, values, strict=False))

    def add_to(self, record: StepRecord) -> StepRecord:
        """Hand over what was heard."""
        return dataclasses.replace(record, clips=tuple(self.clips), unscaled_twice=tuple(self.twice))


def wrap(place: Any, name: str, around: Any, undo: list[Callable[[], None]]) -> None:
    """Replace the function `name` of a module or class by one that goes through `around`."""
    original = getattr(place, name, None)
    if original is None:
        return

    @functools.wraps(original)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return around(original, *args, **kwargs)

    setattr(place, name, wrapped)

    def restore() -> None:
        if getattr(place, name) is wrapped:
            setattr(place, name, original)

    undo.append(restore)


def _grads(parameters: Any) -> list[torch.Tensor]:
    tensors = [parameters] if isinstance(parameters, torch.Tensor) else parameters
    return [one.grad for one in tensors if one.grad is not None]


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float | torch.Tensor) else float("inf")


def _scale_of(scaler: Any) -> float:
    kept = getattr(scaler, "_scale", None)  # `get_scale` is what we listen to
    return float(kept) if kept is not None else 1.0
