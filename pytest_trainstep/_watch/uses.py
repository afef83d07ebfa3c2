"""Which gradients each optimizer step used, and whether a part of them had been used before."""

from __future__ import annotations

import dataclasses
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from pytest_trainstep._events import GradientUse
from pytest_trainstep._record import StepRecord

from . import measures, sites, taps
from .gradients import ABSENT, Window
from .handmade import HandMade
from .scout import Scout
from .stepping import EVENT_LIMIT

if TYPE_CHECKING:
    from .session import Session


class _Used(NamedTuple):
    """The last step that used a gradient of one parameter."""

    backward: int
    step: int


@dataclasses.dataclass(slots=True)
class _Open:
    """A step under way."""

    number: int
    optimizer: Any
    at: str | None
    closure: bool
    evaluations: int
    used: set[int] = dataclasses.field(default_factory=set)  # by steps inside this one


class Uses(Scout):
    """Keeps one `GradientUse` for each kind of gradient in each step."""

    name = "uses"

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.uses: list[GradientUse] = []
        self.used: dict[int, _Used] = {}
        self._open: list[_Open] = []
        self._by_hand: set[int] = set()
        self._mode: HandMade | None = None

    def around(self, _call: int) -> AbstractContextManager[object]:
        """Follow gradients that the program writes itself, once it is known to do so."""
        old = {id(grad): grad for index in self._by_hand if (grad := self.session.tensors[index].grad) is not None}
        self._mode = HandMade(old) if old else None
        return self._mode or nullcontext()

    def add_to(self, record: StepRecord) -> StepRecord:
        """Hand over the uses."""
        return dataclasses.replace(record, uses=tuple(self.uses))

    # -- events ----------------------------------------------------------------------------

    def before_backward(self, _roots: Any) -> object:
        """Gradients that were zeroed behind the back of their version count as cleared."""
        if self.session.ledger.running == 1:
            self.session.ledger.forget_zeroed(list(self.used))
        return None

    def before_step(self, optimizer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Look at once, unless a closure will fill the gradients first."""
        number = self.session.stepping.current()
        while self._open and (self._open[-1].optimizer is optimizer and self._open[-1].number != number):
            self._open.pop()  # it raised and never came back
        if number is None or any(one.number == number for one in self._open):
            return
        closure = taps.closure_of(args, kwargs) is not None
        opened = _Open(number, optimizer, sites.here(), closure, _evaluations(optimizer))
        self._open.append(opened)
        if not closure:
            self._file(opened)

    def after_step(self, optimizer: Any) -> None:
        """Gradients of a step with closure are seen when it returns; then all of them are used up."""
        current = self.session.stepping.current()
        while self._open and self._open[-1].number != current:
            closed = self._open.pop()
            if closed.optimizer is not optimizer:
                continue
            if closed.closure:
                self._file(closed)
            indices = self.session.held[id(optimizer)].indices
            for index in indices:
                self.used[index] = _Used(self.session.ledger.backward, closed.number)
            for outer in self._open:
                outer.used.update(indices)

    # -- one step --------------------------------------------------------------------------

    def _file(self, opened: _Open) -> None:
        held = self.session.held[id(opened.optimizer)]
        groups: dict[tuple[Window, _Used | None], list[int]] = {}
        by_hand: list[int] = []
        for index in dict.fromkeys(held.indices):
            window = self.session.ledger.window[index]
            if self.session.ledger.versions[index] == ABSENT or index in opened.used:
                continue
            if window is None:
                self._by_hand.add(index)
                if self._mode is not None and self._mode.holds_old(self.session.tensors[index].grad):
                    by_hand.append(index)
                continue
            used = self.used.get(index)
            groups.setdefault((window, used if used and window.first <= used.backward else None), []).append(index)
        for (window, used), indices in groups.items():
            self._add(opened, window, used, indices, whole=len(groups) == 1)
        if by_hand and len(self.uses) < EVENT_LIMIT:
            self.uses.append(
                dataclasses.replace(self._use(opened, by_hand), used_in=self.used[by_hand[0]].step, by_hand=True)
            )

    def _add(self, opened: _Open, window: Window, used: _Used | None, indices: list[int], *, whole: bool) -> None:
        wholly = used is not None and window.last <= used.backward
        if wholly:  # zeros that stay zeros hurt nobody
            indices = [index for index in indices if _largest(self.session.tensors[index].grad) != 0]
        if not indices or len(self.uses) >= EVENT_LIMIT:
            return
        self.uses.append(
            dataclasses.replace(
                self._use(opened, indices),
                count=window.passes,
                members=window.members,
                used_in=used.step if used else None,
                wholly=wholly,
                whole=whole,
                evaluations=max(0, _evaluations(opened.optimizer) - opened.evaluations) if opened.closure else 0,
            )
        )

    def _use(self, opened: _Open, indices: list[int]) -> GradientUse:
        return GradientUse(
            step=opened.number,
            call=self.session.call,
            optimizer=self.session.held[id(opened.optimizer)].index,
            at=opened.at,
            parameters=tuple(self.session.slots[index].name for index in indices),
        )


def _largest(grad: torch.Tensor | None) -> float:
    return 0.0 if grad is None else measures.largest([grad])[0]


def _evaluations(optimizer: Any) -> int:
    """Return how often an LBFGS has evaluated its closure; 0 for optimizers that do not count."""
    states = getattr(optimizer, "state", None)
    if not isinstance(states, dict):
        return 0
    return sum(int(state.get("func_evals", 0)) for state in states.values() if isinstance(state, dict))
