"""Optimizers and schedulers of torch by name: which options each has, and how small a step it may take."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.optim import lr_scheduler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pytest_trainstep.strategies._specs import OptimizerSpec, SchedulerSpec


@dataclass(frozen=True)
class Traits:
    """What one optimizer can do.

    ``reach`` is a lower bound of its first update: of the gradient itself if ``proportional``, else of one, in units
    of the learning rate.
    """

    proportional: bool = False
    reach: float = 1.0
    momentum: bool = False
    nesterov: bool = False
    amsgrad: bool = False
    maximize: bool = True
    foreach: bool = True
    fused: bool = False
    tensor_lr: bool = True
    low_precision: bool = True
    matrices_only: bool = False
    needs_closure: bool = False


OPTIMIZERS: dict[str, Traits] = {
    "SGD": Traits(proportional=True, momentum=True, nesterov=True, fused=True),
    "Adam": Traits(amsgrad=True, fused=True),
    "AdamW": Traits(amsgrad=True, fused=True),
    "RMSprop": Traits(momentum=True),
    "Adagrad": Traits(fused=True),
    "Adamax": Traits(),
    "NAdam": Traits(reach=0.5),
    "RAdam": Traits(proportional=True),
    "ASGD": Traits(proportional=True),
    "Rprop": Traits(low_precision=False),
    "Adadelta": Traits(reach=1e-3, low_precision=False),
    "Adafactor": Traits(reach=0.1, low_precision=False, tensor_lr=False),
    "Muon": Traits(
        reach=0.05,
        low_precision=False,
        momentum=True,
        nesterov=True,
        matrices_only=True,
        maximize=False,
        foreach=False,
        tensor_lr=False,
    ),
    "LBFGS": Traits(
        proportional=True, maximize=False, foreach=False, tensor_lr=False, low_precision=False, needs_closure=True
    ),
}
"""The optimizers of ``torch.optim`` for dense gradients, from the ordinary to the exotic."""

DEFAULTS = {"momentum": 0.0, "foreach": None, "fused": None}
UNDECAYED = frozenset({"Rprop", "LBFGS"})


def build_optimizer(
    spec: OptimizerSpec, params: nn.Module | Iterable[nn.Parameter], lr: float
) -> torch.optim.Optimizer:
    """Return a new optimizer, with as many groups as the spec says and the parameters allow."""
    owned = list(params.parameters() if isinstance(params, nn.Module) else params)
    options: dict[str, Any] = {
        name: getattr(spec, name)
        for name in ("momentum", "nesterov", "amsgrad", "maximize", "foreach", "fused", "capturable")
        if getattr(spec, name) != DEFAULTS.get(name, False)
    }
    if spec.name == "Muon":  # whose own defaults are others
        options.update(momentum=spec.momentum, nesterov=spec.nesterov)
    if spec.name not in UNDECAYED and (spec.weight_decay or spec.name in {"AdamW", "Muon"}):
        options["weight_decay"] = spec.weight_decay
    count = min(spec.groups, len(owned))
    ends = [len(owned) * place // max(count, 1) for place in range(count + 1)]
    groups = [
        {"params": owned[start:end], "lr": _rate(spec, lr * (0.5 if start else 1))} for start, end in pairwise(ends)
    ]
    optimizer: torch.optim.Optimizer = getattr(torch.optim, spec.name)(groups, lr=_rate(spec, lr), **options)
    return optimizer


def _rate(spec: OptimizerSpec, lr: float) -> Any:  # noqa: ANN401  # torch's own annotations differ by version
    return torch.tensor(float(lr)) if spec.tensor_lr else lr


SCHEDULERS: dict[str, Callable[[torch.optim.Optimizer], lr_scheduler.LRScheduler]] = {
    "StepLR": lambda optimizer: lr_scheduler.StepLR(optimizer, step_size=1),
    "ExponentialLR": lambda optimizer: lr_scheduler.ExponentialLR(optimizer, gamma=0.9),
    "CosineAnnealingLR": lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, T_max=10),
    "LinearLR": lambda optimizer: lr_scheduler.LinearLR(optimizer, start_factor=0.5),
    "ConstantLR": lambda optimizer: lr_scheduler.ConstantLR(optimizer, factor=0.5),
}
"""The schedulers by name; the first rate of each is at least half of the optimizer's."""


def build_scheduler(spec: SchedulerSpec, optimizer: torch.optim.Optimizer) -> lr_scheduler.LRScheduler:
    """Return a new scheduler of the optimizer."""
    return SCHEDULERS[spec.name](optimizer)
