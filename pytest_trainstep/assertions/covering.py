"""The claim that an optimizer holds what the model trains: all of it, once, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch.nn.parameter import is_lazy

from pytest_trainstep import _settings
from pytest_trainstep._diagnose import covering, patterns
from pytest_trainstep._errors import OptimizerNotCovering, TrainStepUsageError
from pytest_trainstep._record import ParameterRecord
from pytest_trainstep._watch import naming, owners

from .judging import check_patterns
from .matching import optimizers_in


def assert_optimizer_covers(
    model: Any,
    optimizer: Any,
    *,
    only: Sequence[str] | None = None,
    frozen: Sequence[str] = (),
    extra: Iterable[torch.Tensor] = (),
    msg: str | None = None,
) -> None:
    """Every trainable parameter of `model` is in exactly one group of the optimizer(s), and nothing foreign is.

    Frozen parameters (`requires_grad=False`) may be in a group; tied ones count once.

    Args:
        model: A `torch.nn.Module`, or a mapping of names to modules.
        optimizer: The optimizer, or all that share the work, in a list.
        only: Patterns (as in `fnmatch`) of the parameters that must be held, whatever their `requires_grad`.
        frozen: Patterns of the parameters that need not be held.
        extra: Tensors outside the model that the optimizers may hold too (a learned loss scale).
        msg: Text of your own, printed below the message.

    Raises:
        OptimizerNotCovering: With `.finding`: what is missing, held twice, or foreign.
        TrainStepUsageError: The arguments make no sense, or nothing is trainable.

    Example:
        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 1))
        >>> assert_optimizer_covers(model, torch.optim.SGD(model.parameters(), lr=0.1))
    """
    __tracebackhide__ = True
    slots = naming.slots_of(naming.modules_of(model))
    optimizers = optimizers_in(optimizer)
    rows = [_row(slot) for slot in slots]
    settings = _settings.current()
    only = settings.only if only is None else tuple(only) if not isinstance(only, str) else only
    frozen = (*frozen, *settings.frozen) if not isinstance(frozen, str) else frozen
    check_patterns(rows, only=only or (), frozen=frozen)
    excused = (*frozen, *settings.ini_frozen)
    judged = [row for row in rows if (row.trainable if only is None else patterns.matches(row, only))]
    if not judged:
        text = "nothing to judge: no parameter has requires_grad=True; name what must be held with only=[...]"
        raise TrainStepUsageError(text)
    judged = [row for row in judged if not patterns.matches(row, excused)]
    cover = _cover(slots, rows, judged, optimizers, {id(one) for one in extra})
    if cover.missing or cover.twice or cover.foreign:
        raise OptimizerNotCovering(covering.finding(cover, msg=msg))


def _row(slot: naming.Slot) -> ParameterRecord:
    tensor = slot.tensor
    lazy = is_lazy(tensor)
    return ParameterRecord(
        name=slot.name,
        aliases=slot.aliases,
        shape=() if lazy else tuple(tensor.shape),
        numel=0 if lazy else tensor.numel(),
        trainable=tensor.requires_grad,
    )


def _cover(
    slots: Sequence[naming.Slot],
    rows: Sequence[ParameterRecord],
    judged: Sequence[ParameterRecord],
    optimizers: Sequence[Any],
    extra: set[int],
) -> covering.Cover:
    names = {id(slot.tensor): slot.name for slot in slots}
    groups: dict[str, list[str]] = {}
    foreign: list[tuple[torch.Tensor, str]] = []
    for optimizer in optimizers:
        kind = type(optimizer).__name__
        for number, group in enumerate(optimizer.param_groups):
            for tensor in group["params"]:
                if id(tensor) in names:
                    groups.setdefault(names[id(tensor)], []).append(f"{kind} {number}")
                elif id(tensor) not in extra:
                    foreign.append((tensor, f"{kind} {number}"))
    wanted = {row.name for row in judged}
    return covering.Cover(
        parameters={row.name: row for row in rows},
        missing=tuple(row.name for row in judged if row.name not in groups),
        twice={
            name: " and ".join(where)
            for name, where in groups.items()
            if len(where) > 1 and (name in wanted or _trainable(name, rows))
        },
        foreign=_owned(foreign),
        held=len(groups),
        optimizers=tuple(_called(optimizer) for optimizer in optimizers),
    )


def _trainable(name: str, rows: Sequence[ParameterRecord]) -> bool:
    return any(row.name == name and row.trainable for row in rows)


def _owned(foreign: Sequence[tuple[torch.Tensor, str]]) -> tuple[covering.Foreign, ...]:
    if not foreign:
        return ()
    owner_of = owners.Census([]).owner_of
    found = []
    for tensor, where in foreign:
        owner = owner_of.get(id(tensor))
        name = None if owner is None else type(owner).__name__
        found.append(covering.Foreign(shape=tuple(tensor.shape), optimizer=where, owner=name))
    return tuple(found)


def _called(optimizer: Any) -> str:
    place = owners.birthplace(optimizer)
    return f"{type(optimizer).__name__} (built at {place})" if place else type(optimizer).__name__
