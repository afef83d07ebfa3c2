"""Does the first update of an optimizer go downhill? Weights and gradients are copied once, for that step only."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import torch

from pytest_trainstep._events import FirstUpdate
from pytest_trainstep._record import StepRecord

from . import origins, sites, taps
from .scout import Scout
from .snapshots import local, readable

if TYPE_CHECKING:
    from .session import Session


@dataclasses.dataclass(slots=True)
class _Start:
    """What an optimizer found when it made its first step."""

    number: int
    at: str | None
    indices: list[int]
    weights: list[torch.Tensor]
    gradients: list[torch.Tensor]
    decays: list[float]


class Slopes(Scout):
    """Compares the first update of each optimizer with the gradient it was given."""

    name = "slopes"

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.found: list[FirstUpdate] = []
        self._seen: set[int] = set()
        self._starts: dict[int, _Start] = {}

    def begin(self) -> None:
        """Optimizers that have stepped before have a history that may point anywhere."""
        self._seen = {id(one) for one in origins.known() if origins.has_stepped(one)}

    def before_step(self, optimizer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Copy what the first step will work on."""
        number = self.session.stepping.current()
        if id(optimizer) in self._seen or number is None:
            return
        self._seen.add(id(optimizer))
        if taps.closure_of(args, kwargs) is not None or not _descends(optimizer):
            return
        start = _Start(number, sites.here(), [], [], [], [])
        for group in optimizer.param_groups:
            for tensor in group["params"]:
                index = self.session.index.get(id(tensor))
                grad = tensor.grad
                if index is None or grad is None or not readable(tensor) or tensor.dtype.is_complex:
                    continue
                start.indices.append(index)
                start.weights.append(local(tensor).clone())
                start.gradients.append(local(grad).clone())
                start.decays.append(float(group.get("weight_decay") or 0.0) * float(group.get("lr") or 0.0))
        self._starts[id(optimizer)] = start

    def after_step(self, optimizer: Any) -> None:
        """Compare."""
        start = self._starts.get(id(optimizer))
        if start is None or self.session.stepping.current() == start.number:
            return
        del self._starts[id(optimizer)]
        cosine = self._cosine(start)
        if cosine is not None:
            self.found.append(
                FirstUpdate(
                    optimizer=self.session.held[id(optimizer)].index,
                    step=start.number,
                    at=start.at,
                    cosine=cosine,
                    elements=sum(one.numel() for one in start.weights),
                    parameters=tuple(self.session.slots[index].name for index in start.indices),
                )
            )

    def _cosine(self, start: _Start) -> float | None:
        """Return the smaller of the cosines with and without what weight decay can have done."""
        now = [local(self.session.tensors[index]) for index in start.indices]
        moves = [(new.double() - old.double()) for new, old in zip(now, start.weights, strict=True)]
        slopes = [grad.double() for grad in start.gradients]
        undecayed = [
            move + decay * old.double() for move, decay, old in zip(moves, start.decays, start.weights, strict=True)
        ]
        angles = [_angle(moves, slopes), _angle(undecayed, slopes)]
        known = [angle for angle in angles if angle is not None]
        return min(known) if len(known) == len(angles) else None

    def add_to(self, record: StepRecord) -> StepRecord:
        """Hand over what was found."""
        return dataclasses.replace(record, first_updates=tuple(self.found))


def _descends(optimizer: Any) -> bool:
    fresh = not any(getattr(optimizer, "state", {}).values())
    return fresh and not any(group.get("maximize") for group in optimizer.param_groups)


def _angle(moves: list[torch.Tensor], slopes: list[torch.Tensor]) -> float | None:
    product = sum(float((a * b).sum()) for a, b in zip(moves, slopes, strict=True))
    lengths = sum(float(a.square().sum()) for a in moves) * sum(float(b.square().sum()) for b in slopes)
    if not math.isfinite(product) or not math.isfinite(lengths) or lengths <= 0:
        return None
    return product / math.sqrt(lengths)
