"""Stays everything finite? Looks at losses, gradients and weights, and at where the first NaN or infinity was born."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch

from pytest_trainstep._events import NonFinite
from pytest_trainstep._record import StepRecord

from . import measures, taps
from .births import Birth, Births, NodeBirths, compiled, not_finite
from .clipping import wrap
from .gradients import ABSENT
from .scout import Scout
from .trace import loss_in

if TYPE_CHECKING:
    from .session import Session


class Finiteness(Scout):
    """Keeps what was not finite in the first call in which something was not."""

    name = "finiteness"

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.found: list[NonFinite] = []
        self._undo: list[Callable[[], None]] = []
        self._births: Births | None = None
        self._nodes = NodeBirths()
        self._born: dict[int, Birth | None] = {}  # gradients that are not finite, and why; by number
        self._used: set[int] = set()  # of these, those that a step has used
        self._backward_ran = False
        self._scaled: list[tuple[Any, str | None]] = []  # scaled losses, and what they were before

    def begin(self) -> None:
        """Weights that are not finite before the first step (a frozen mask) are nobody's fault."""
        self._before = [not_finite(tensor) for tensor in self.session.tensors]
        wrap(getattr(torch.amp, "GradScaler", None), "scale", self._around_scale, self._undo)

    def end(self) -> None:
        """Put the scaler's method back."""
        while self._undo:
            self._undo.pop()()

    def around(self, _call: int) -> AbstractContextManager[object]:
        """Look at every operation of the call, unless compiled code would have to be compiled anew."""
        self._backward_ran = False
        self._births = (
            None if self.found or self.compiled or compiled(self.session.modules) else Births(self.session.modules)
        )
        return self._births or nullcontext()

    def _around_scale(self, original: Any, scaler: Any, outputs: Any, *args: Any, **kwargs: Any) -> Any:
        result = original(scaler, outputs, *args, **kwargs)
        with self.guarded():
            if isinstance(outputs, torch.Tensor) and isinstance(result, torch.Tensor):
                self._scaled = [*self._scaled[-3:], (result, not_finite(outputs))]
        return result

    # -- events ----------------------------------------------------------------------------

    def before_backward(self, roots: Any) -> object:
        """Look at the loss, and listen to the nodes."""
        if self.session.ledger.running > 1 or self.found:
            return None
        self._backward_ran = True
        roots = [roots] if isinstance(roots, torch.Tensor) else list(roots)
        for root in roots:
            if isinstance(root, torch.Tensor):
                value = next((before for one, before in self._scaled if one is root), not_finite(root))
                if value is not None:
                    self._add("loss", value, (), self._births.first() if self._births else None)
        self._scaled.clear()
        if not self.found:
            self._nodes = NodeBirths()
            self._nodes.listen(roots)
        return None

    def after_backward(self, _token: object, _error: BaseException | None) -> None:
        """Look at the gradients that it left."""
        if not self.session.ledger.running:
            self._look(range(len(self.session.slots)), new=True)

    def before_step(self, optimizer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Look at the gradients that it will use, unless a fused optimizer is about to skip them."""
        if taps.closure_of(args, kwargs) is not None:
            return
        if self._births is not None:
            self._births.paused = True
        held = self.session.held.get(id(optimizer))
        found_inf = getattr(optimizer, "found_inf", None)
        if held is None or (found_inf is not None and bool(found_inf)):
            return
        self._look(held.indices, new=False)
        self._used.update(index for index in held.indices if index in self._born)

    def after_step(self, optimizer: Any) -> None:
        """With a closure, only now the gradients can be seen."""
        if self._births is not None:
            self._births.paused = False
        held = self.session.held.get(id(optimizer))
        if held is not None:
            self._used.update(index for index in held.indices if index in self._born)

    def step_skipped(self, optimizer: Any, *, reported: bool) -> None:  # noqa: ARG002 - the watcher's protocol
        """A scaler that skips has seen them, and that is its job."""
        held = self.session.held.get(id(optimizer))
        for index in held.indices if held else ():
            self._born.pop(index, None)
            self._used.discard(index)

    def _look(self, indices: Sequence[int], *, new: bool) -> None:
        ledger, tensors = self.session.ledger, self.session.tensors
        looked = [one for one in indices if ledger.versions[one] != ABSENT and (not new or ledger.newly(one))]
        pairs = [(index, grad) for index in looked if (grad := tensors[index].grad) is not None]
        maxima = measures.largest([grad for _, grad in pairs])
        for (index, _), largest in zip(pairs, maxima, strict=True):
            if largest - largest == 0:  # finite
                self._born.pop(index, None)  # mended by the program before anything used it
            else:
                self._born.setdefault(index, self._nodes.first)

    def after_call(self, value: object) -> None:
        """Judge the gradients that were used or are left, then the weights."""
        session = self.session
        if self.found and self.found[-1].call < session.call:
            return
        if not self._backward_ran:
            self._look_at_returned(value)
        guards = self._births is not None and self._births.checks  # then it may leave them lying, unused
        left = [index for index in self._born if index in self._used or not (guards or self._is_cleared(index))]
        if left:
            first = next((birth for birth in map(self._born.get, left) if birth), None)
            kind = first.value if first else "NaN"
            self._add("gradient", kind, [session.slots[index].name for index in left], first)
        self._look_at_weights()
        self._born.clear()
        self._used.clear()

    def _is_cleared(self, index: int) -> bool:
        grad = self.session.tensors[index].grad
        return grad is None or not_finite(grad) is None

    def _look_at_returned(self, value: object) -> None:
        """Without any backward pass, what the step returns is the best guess at the loss."""
        tensor = loss_in(value)
        word = not_finite(tensor) if tensor is not None and tensor.is_floating_point() else None
        if isinstance(value, float) and value - value != 0:
            word = "NaN" if value != value else "inf"  # noqa: PLR0124 - x != x is the NaN test
        if word:
            self._add("loss", word, (), self._births.first() if self._births else None)

    def _look_at_weights(self) -> None:
        session = self.session
        bad: dict[str, str] = {}
        for index, slot in enumerate(session.slots):
            before = self._before[index] if index < len(self._before) else None
            if slot.buffer or not session.trainable[index] or before is not None:
                continue
            word = not_finite(session.tensors[index])
            if word:
                bad[slot.name] = word
        if bad:
            self._add("weight", next(iter(bad.values())), tuple(bad), None)

    def _add(self, what: str, value: str, parameters: Sequence[str], birth: Birth | None) -> None:
        entered = self._births.entered if self._births and birth is None and what == "loss" else None
        self.found.append(
            NonFinite(
                what=what,
                call=self.session.call,
                value=value,
                parameters=tuple(parameters),
                by=birth.by if birth else None,
                made=birth.value if birth else None,
                at=birth.at if birth else entered,
                module=birth.module if birth else None,
                given=birth.given if birth else None,
                entered=entered is not None,
            )
        )

    def add_to(self, record: StepRecord) -> StepRecord:
        """Hand over what was found."""
        return dataclasses.replace(record, non_finite=tuple(self.found))
