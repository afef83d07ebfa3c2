"""Replaying an optimizer's step in float64, to see what rounding swallowed.

The twin is a deep copy of the optimizer whose parameters are float64 copies; the user's optimizer,
weights, gradients and random streams are not touched. The replay uses the state after the real
step: it answers for the next step with the same gradient.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from . import taps
from .owners import tensors_of
from .restore import random_streams_kept

# an lr above this would not be called a remedy
_LARGEST_FACTOR = 1e12
_PROBES = (1e6, _LARGEST_FACTOR)  # between them no lr is too small for float64, and not every one too large
_MOST = 0.5
_SWALLOWED = 0.9
_HOOKS = ("step", "_optimizer_step_pre_hooks", "_optimizer_step_post_hooks")
_COUPLED_LIMIT = 2**22  # elements up to which the other parameters come along


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the replay says about one parameter."""

    kind: str  # underflow, would-move, writes-nothing, unknown
    lr: float = math.nan
    smallest_lr: float | None = None
    wanted: float = 0.0
    spacing: float = 0.0
    swallowed: float = 0.0
    closure_helps: bool = False


UNKNOWN = Verdict("unknown")


def verdicts(optimizer: Any, tensors: Sequence[torch.Tensor]) -> list[Verdict]:
    """Tell, for each of `tensors` (held by `optimizer`, with gradient), what its step wanted."""
    try:
        with taps.muted(), random_streams_kept():
            return _verdicts(optimizer, list(tensors))
    except Exception:  # noqa: BLE001 - a foreign optimizer may refuse any part of this
        return [UNKNOWN] * len(tensors)


def _verdicts(optimizer: Any, tensors: list[torch.Tensor]) -> list[Verdict]:
    after = _run(optimizer, tensors, 1.0)
    stays = [_swallowed(tensor, new) for tensor, new in zip(tensors, after, strict=True)]
    results: list[Verdict | None] = [
        None if stay > _SWALLOWED else Verdict("would-move", swallowed=stay) for stay in stays
    ]
    factor_of = _smallest_factors(optimizer, tensors, _written(optimizer, tensors, after, results))
    closure_moves = _moves_with_closure(optimizer, tensors, factor_of)
    for index, tensor in enumerate(tensors):
        if results[index] is not None:
            continue
        lr = _lr_of(optimizer, tensor)
        factor = factor_of.get(index)
        wanted = (after[index] - _wide(tensor)).abs()
        if factor is None and not bool(wanted.any()):
            results[index] = Verdict("writes-nothing", closure_helps=index in closure_moves)
            continue
        results[index] = Verdict(
            "underflow",
            lr=lr,
            smallest_lr=None if factor is None else lr * factor,
            wanted=_median(wanted[wanted > 0]),
            spacing=_spacing(tensor),
            swallowed=stays[index],
        )
    return [result or UNKNOWN for result in results]


def _written(
    optimizer: Any, tensors: list[torch.Tensor], after: list[torch.Tensor], results: Sequence[Verdict | None]
) -> set[int]:
    """Return those to which the step writes anything at all: a step that writes nothing has no lr to be found."""
    waiting = {index for index, result in enumerate(results) if result is None}
    runs = [after] if not waiting else [after, *(_run(optimizer, tensors, factor) for factor in _PROBES)]
    return {i for i in waiting if any(bool((run[i] != _wide(tensors[i])).any()) for run in runs)}


def _smallest_factors(optimizer: Any, tensors: list[torch.Tensor], waiting: set[int]) -> dict[int, float]:
    """Find, on a grid of 1-2-5 steps, by how much lr must grow for most elements to move."""
    found: dict[int, float] = {}
    factor = 1.0
    while waiting and factor < _LARGEST_FACTOR:
        for step in (2.0, 5.0, 10.0):
            after = _run(optimizer, tensors, factor * step)
            for index in tuple(waiting):
                if _swallowed(tensors[index], after[index]) < _MOST:
                    found[index] = factor * step
                    waiting.discard(index)
        factor *= 10
    return found


def _moves_with_closure(optimizer: Any, tensors: list[torch.Tensor], factors: dict[int, float]) -> set[int]:
    """Find those that the step writes only when it is given a closure."""
    still = [index for index in range(len(tensors)) if index not in factors]
    if not still:
        return set()
    try:
        after = _run(optimizer, tensors, 1.0, closure=lambda: torch.zeros(()))
    except Exception:  # noqa: BLE001 - this optimizer takes no closure
        return set()
    return {i for i in still if bool((after[i] != _wide(tensors[i])).any())}


def _run(optimizer: Any, tensors: list[torch.Tensor], factor: float, closure: Any = None) -> list[torch.Tensor]:
    """Step a float64 twin of `optimizer` with every lr multiplied by `factor`; return the weights."""
    twin, twins = _twin(optimizer, tensors)
    groups = [group for one in (twin, *_nested(vars(twin))) for group in one.param_groups]
    for group in {id(group): group for group in groups}.values():
        group["foreach"], group["fused"] = False, None
        if isinstance(group.get("lr"), int | float | torch.Tensor):
            group["lr"] = float(group["lr"]) * factor
    step = getattr(type(twin).step, "__wrapped__", type(twin).step)
    if closure is None:
        step(twin)
    else:
        step(twin, closure)
    return [twins[id(tensor)].detach() for tensor in tensors]


def _nested(attributes: Mapping[str, Any]) -> list[Any]:
    """Find the optimizers that an optimizer wraps."""
    return [one for one in attributes.values() if isinstance(one, torch.optim.Optimizer)]


def _twin(optimizer: Any, tensors: list[torch.Tensor]) -> tuple[Any, dict[int, torch.Tensor]]:
    everyone = held = tensors_of(optimizer)
    if sum(tensor.numel() for tensor in everyone) > _COUPLED_LIMIT:
        everyone = tensors
    twins = {id(tensor): _double(tensor) for tensor in everyone}
    # one copy of everything at once: a wrapped optimizer goes on sharing its groups with the wrapper
    memo: dict[int, Any] = {id(one): one for one in held}
    memo.update(twins)
    attributes = {key: value for key, value in vars(optimizer).items() if key not in _HOOKS}
    state = attributes.pop("state", {})
    copied = copy.deepcopy(attributes, memo)
    copied["state"] = copy.copy(state)
    copied["state"].clear()
    copied["state"].update(copy.deepcopy({key: value for key, value in state.items() if id(key) in twins}, memo))
    for part in (copied, *(vars(one) for one in _nested(copied))):
        part.update({"_optimizer_step_pre_hooks": {}, "_optimizer_step_post_hooks": {}})
        part["state"].update({key: _double_all(value) for key, value in part["state"].items()})
        for group in part["param_groups"]:
            group["params"] = [one for one in group["params"] if id(one) not in memo]
    cls: Any = type(optimizer)
    twin = cls.__new__(cls)
    twin.__dict__.update(copied)
    return twin, twins


def _wide(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().to(torch.complex128 if tensor.dtype.is_complex else torch.float64, copy=True)


def _double(tensor: torch.Tensor) -> torch.Tensor:
    twin = _wide(tensor).requires_grad_(tensor.requires_grad)
    if tensor.grad is not None:
        twin.grad = _wide(tensor.grad)
    return twin


def _double_all(value: Any) -> Any:
    if isinstance(value, torch.Tensor) and value.is_floating_point():
        return value.double()
    if isinstance(value, dict):
        return {key: _double_all(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_double_all(item) for item in value]
    return value


def _swallowed(tensor: torch.Tensor, after: torch.Tensor) -> float:
    """Return which part of the elements with a gradient stays, once `after` is rounded."""
    grad = tensor.grad
    if grad is None:
        return 1.0
    received = (grad.to_dense() if grad.layout is not torch.strided else grad) != 0
    total = int(received.sum())
    stays = int((received & (after.to(tensor.dtype) == tensor.detach())).sum())
    return stays / total if total else 1.0


def _lr_of(optimizer: Any, tensor: torch.Tensor) -> float:
    for group in optimizer.param_groups:
        if any(one is tensor for one in group["params"]):
            lr = group.get("lr")
            return float(lr) if isinstance(lr, int | float | torch.Tensor) else math.nan
    return math.nan


def _median(values: torch.Tensor) -> float:
    return float(values.median()) if values.numel() else 0.0


def _spacing(tensor: torch.Tensor) -> float:
    """Return the median distance to the next larger number of the dtype."""
    values = tensor.detach()
    if values.dtype.is_complex:
        values = torch.view_as_real(values)
    size = values.abs()
    return _median((torch.nextafter(size, torch.full_like(size, math.inf)) - size).double())
