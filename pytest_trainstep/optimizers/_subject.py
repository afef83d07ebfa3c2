"""The optimizer under examination: how it is built, and what its constructor can be told."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor

from pytest_trainstep._errors import TrainStepUsageError

Factory = Callable[..., Any]

USUAL_LR = 0.01  # for constructors that have none of their own


class Subject:
    """An optimizer class, a partial of one, or any callable that takes parameters and returns an optimizer."""

    def __init__(self, factory: Factory, *, required: Mapping[str, object] | None = None) -> None:
        if not callable(factory):
            raise TrainStepUsageError(f"expected an optimizer class or a callable that builds one, not {factory!r}")
        self.factory = factory
        self.required = dict(required or {})
        self.name = _name(factory, self.required)
        self._parameters = _signature(factory)
        self._check_arguments()

    def takes(self, argument: str) -> bool:
        """Tell whether the constructor names this argument."""
        return argument in self._parameters

    @property
    def takes_lr(self) -> bool:
        """Whether a learning rate can be passed: by name, or through `**kwargs` (a wrapper)."""
        kinds = [one.kind for one in self._parameters.values()]
        return self.takes("lr") or inspect.Parameter.VAR_KEYWORD in kinds

    @property
    def needs_lr(self) -> bool:
        """Whether the constructor has a learning rate without default."""
        if not self.takes("lr"):
            return False
        default = self._parameters["lr"].default  # a sentinel called `required` stands for none
        return default is not None and not isinstance(default, int | float | Tensor)

    def build(self, params: Iterable[Tensor] | Iterable[dict[str, Any]], **overrides: object) -> Any:
        """Build one over these parameters or groups."""
        given: dict[str, object] = {"lr": USUAL_LR} if self.needs_lr and "lr" not in self.required else {}
        optimizer = self.factory(list(params), **{**given, **self.required, **overrides})
        train = getattr(optimizer, "train", None)
        if callable(train):  # schedule-free optimizers switch the weights between two sets
            train()
        return optimizer

    def _check_arguments(self) -> None:
        named = list(self._parameters.values())
        if not named:
            raise TrainStepUsageError(f"{self.name} cannot be constructed: it takes no arguments, so no parameters")
        positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        missing = [
            one.name
            for one in named[1:]
            if one.default is inspect.Parameter.empty
            and one.kind not in variable
            and one.name not in self.required
            and one.name != "lr"
        ]
        if missing:
            raise TrainStepUsageError(
                f"{self.name} cannot be constructed: no value for {', '.join(missing)}; pass"
                f" required={{{', '.join(f'{name!r}: ...' for name in missing)}}} or a functools.partial"
            )
        if named[0].kind not in (*positional, *variable):
            raise TrainStepUsageError(f"{self.name} cannot be constructed: it takes no parameters by position")
        unknown = [name for name in self.required if name not in self._parameters]
        if unknown and not any(one.kind is inspect.Parameter.VAR_KEYWORD for one in named):
            raise TrainStepUsageError(f"{self.name} has no argument {', '.join(unknown)}, which required= names")


def _signature(factory: Factory) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(factory).parameters
    except (TypeError, ValueError):
        wild = inspect.Parameter("params", inspect.Parameter.VAR_POSITIONAL)
        keywords = inspect.Parameter("options", inspect.Parameter.VAR_KEYWORD)
        return {"params": wild, "options": keywords}


def _name(factory: Factory, required: Mapping[str, object]) -> str:
    told = {**required}
    while isinstance(factory, functools.partial):
        told = {**factory.keywords, **told}
        factory = factory.func
    name = getattr(factory, "__name__", type(factory).__name__)
    return f"{name}({', '.join(f'{key}={_short(value)}' for key, value in told.items())})" if told else name


def _short(value: object) -> str:
    return getattr(value, "__name__", None) or repr(value)[:20]


def lr_of(optimizer: Any, group: int = 0) -> float | None:
    """Return the learning rate of a group as a number, where there is one."""
    groups = getattr(optimizer, "param_groups", None) or [{}]
    lr = groups[group].get("lr") if isinstance(groups[group], dict) else None
    if isinstance(lr, Tensor):
        lr = lr.item() if lr.numel() == 1 else None
    return float(lr) if isinstance(lr, int | float) and math.isfinite(lr) else None
