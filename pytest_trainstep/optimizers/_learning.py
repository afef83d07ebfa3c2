"""Does it go downhill: on a quadratic, and on a small network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ._property import Property
from ._tensors import World, values
from ._trial import Trial, leaves
from ._verdicts import ViolationError

if TYPE_CHECKING:
    from ._case import Case

_STEPS = 40
_FACTORS = (1.0, 0.1, 10.0, 0.01, 100.0)


def descends(case: Case, world: World) -> str | None:
    """The loss falls, at the default lr or at one within a factor of a hundred."""
    factors = (1.0,) if case.no_lr else _FACTORS
    walk = _quadratic if world.choice == "quadratic" else _network
    seen: list[tuple[float, ...]] = []
    for factor in factors:
        overrides = {} if factor == 1 else {"lr": (case.lr or 1.0) * factor}
        try:
            losses = walk(case, world, overrides)
        except Exception:
            if factor == 1:
                raise
            continue  # at a rate that nobody chose
        if losses[-1] < losses[0] or losses[-1] < losses[1] < float("inf"):
            return None if factor == 1 else f"descends at {factor:g} times its default lr, not at that itself"
        seen.append(losses)
    first, _, last = seen[0]
    raise ViolationError(f"{world.choice}: the loss went from {first:.2g} to {last:.2g} in {_STEPS} steps")


def _quadratic(case: Case, world: World, overrides: dict[str, float]) -> tuple[float, ...]:
    """Walk towards targets; return the loss at the start, after the first move, and at the end; the worst parameter's."""
    trial = case.on(leaves(world), seed=world.seed, **overrides)
    targets = [values(tuple(one.shape), world.seed, 31, place) * 0.5 for place, one in enumerate(trial.params)]

    def losses() -> list[float]:
        return [float((one.detach() - goal).square().sum()) for one, goal in zip(trial.params, targets, strict=True)]

    start = losses()
    for _ in range(case.first_move or 1):
        _descend(trial, targets)
    moved = losses()
    for _ in range(_STEPS + case.patience):
        _descend(trial, targets)
    ends = losses()
    worst = max(range(len(ends)), key=lambda place: _number(ends[place] / (start[place] or 1.0)))
    return start[worst], moved[worst], _number(ends[worst])


def _descend(trial: Trial, targets: list[Tensor]) -> None:
    def loss() -> Tensor:
        parts = [(one - goal).square().sum() / 2 for one, goal in zip(trial.params, targets, strict=True)]
        return torch.stack(parts).sum()

    trial.step_on(loss)


def _network(case: Case, world: World, overrides: dict[str, float]) -> tuple[float, ...]:
    bias = any(len(shape) == 1 for shape in case.shapes)
    matrices = any(len(shape) > 1 for shape in case.shapes)
    model = nn.Sequential(nn.Linear(3, 6, bias=bias), nn.Tanh(), nn.Linear(6, 2, bias=bias))
    with torch.no_grad():
        for place, param in enumerate(model.parameters()):
            param.copy_(values(tuple(param.shape), world.seed, place) * 0.5)
    inputs, labels = values((8, 3), world.seed, 91), values((8, 2), world.seed, 92)
    trained = [one for one in model.parameters() if matrices or one.dim() == 1]
    trial = case.on(trained, seed=world.seed, **overrides)

    def loss() -> Tensor:
        found: Tensor = nn.functional.mse_loss(model(inputs), labels)
        return found

    marks = [_number(float(loss()))]
    for count in (case.first_move or 1, _STEPS + case.patience):
        for _ in range(count):
            trial.step_on(loss)
        marks.append(_number(float(loss())))
    return tuple(marks)


def _number(loss: float) -> float:
    return loss if loss == loss else float("inf")  # noqa: PLR0124  # NaN counts as worst


PROPERTIES = (Property(name="descends", judge=descends, choices=("quadratic", "network"), sizes=(1, 2), examples=2),)
