"""What is drawn, as plain frozen values that print as the code that makes them. Torch-free."""

from __future__ import annotations

import textwrap
from dataclasses import MISSING, dataclass, field, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import torch
    from torch import nn


def code(name: str, arguments: Iterable[tuple[str, object]]) -> str:
    """Return the call ``name(arguments)``, broken over lines when it is too long for one."""
    parts = [f"{key}={value!r}" if key else repr(value) for key, value in arguments]
    line = f"{name}({', '.join(parts)})"
    if len(line) <= LINE and "\n" not in line:
        return line
    return "\n".join([f"{name}(", *(textwrap.indent(part, "    ") + "," for part in parts), ")"])


LINE = 88  # characters after which a call is printed with one argument to a line


class Printed:
    """A frozen dataclass whose ``repr`` leaves out what has its default value, so that it shows what is special."""

    __slots__ = ()

    def __repr__(self) -> str:
        return code(type(self).__name__, self._arguments())

    def _arguments(self) -> Iterator[tuple[str, object]]:
        for place in fields(self):  # type: ignore[arg-type]  # every heir is a dataclass
            value = getattr(self, place.name)
            default = place.default if place.default_factory is MISSING else place.default_factory()
            if value != default or type(value) is not type(default):  # a learning rate of 1 is not one of 1.0
                yield ("" if place.metadata.get("positional") else place.name), value


@dataclass(frozen=True, slots=True, repr=False)
class ModelSpec(Printed):
    """A small model: ``layers`` between the inputs and a linear head with two outputs.

    Args:
        layers: The names of the layers, in order; only the first may be one that reads inputs of its own kind
            (``"embedding"``, ``"conv2d"``, ``"lstm"``, ...).
        width: The number of features between layers.
        bias: Whether linear layers have a bias.
        container: What holds the layers: ``"sequential"``, ``"module"`` (attributes of a class), ``"list"``
            (``ModuleList``), ``"dict"`` (``ModuleDict``), ``"root"`` (a class with a parameter of its own), or
            ``"bare"`` (the model is the head).
        nesting: How many more times the layers are wrapped in a ``Sequential``.
        dtype: The name of the dtype of the parameters.
        seed: What the initial weights are drawn from.

    Example:
        >>> ModelSpec(layers=("tanh",)).build()
        ModelSpec(layers=('tanh',)).build()
    """

    layers: tuple[str, ...] = ()
    width: int = 3
    bias: bool = True
    container: str = "sequential"
    nesting: int = 0
    dtype: str = "float32"
    seed: int = 0

    def build(self) -> nn.Module:
        """Return a new live model, the same every time; the global random streams are not touched."""
        from pytest_trainstep.strategies._models import build_model

        return build_model(self)


@dataclass(frozen=True, slots=True, repr=False)
class LossSpec(Printed):
    """A loss of ``torch.nn`` by name.

    Example:
        >>> LossSpec("L1Loss", reduction="sum").build()
        LossSpec('L1Loss', reduction='sum').build()
    """

    name: str = field(default="MSELoss", metadata={"positional": True})
    reduction: str = "mean"

    def build(self) -> nn.Module:
        """Return a new live loss."""
        from pytest_trainstep.strategies._batches import build_loss

        return build_loss(self)


@dataclass(frozen=True, slots=True, repr=False)
class OptimizerSpec(Printed):
    """An optimizer of ``torch.optim`` by name, with its options; call it with what it shall train.

    Args:
        name: The class, as in ``torch.optim``.
        groups: In how many parameter groups the parameters are given; all but the first have half the learning rate.
        tensor_lr: Whether the learning rate is a tensor.
        momentum: Its momentum, where it has one.
        nesterov: Whether the momentum is Nesterov's.
        amsgrad: Whether Adam keeps the largest second moment.
        weight_decay: Its weight decay.
        maximize: Whether it climbs.
        foreach: Whether it works on all parameters at once; ``None`` leaves the choice to torch.
        fused: Whether one kernel does it all; ``None`` leaves the choice to torch.
        capturable: Whether its state lives on the device.

    Example:
        >>> optimizer = OptimizerSpec("Adam", groups=2)(model, lr=0.01)
    """

    name: str = field(default="SGD", metadata={"positional": True})
    groups: int = 1
    tensor_lr: bool = False
    momentum: float = 0.0
    nesterov: bool = False
    amsgrad: bool = False
    weight_decay: float = 0.0
    maximize: bool = False
    foreach: bool | None = None
    fused: bool | None = None
    capturable: bool = False

    def __call__(self, params: nn.Module | Iterable[torch.nn.Parameter], lr: float = 0.1) -> torch.optim.Optimizer:
        """Return a live optimizer of a model or of its parameters."""
        from pytest_trainstep.strategies._optimizers import build_optimizer

        return build_optimizer(self, params, lr)


@dataclass(frozen=True, slots=True, repr=False)
class SchedulerSpec(Printed):
    """A learning rate scheduler by name; call it with an optimizer. None of them starts from a rate of zero.

    Example:
        >>> scheduler = SchedulerSpec("ExponentialLR")(optimizer)
    """

    name: str = field(default="StepLR", metadata={"positional": True})

    def __call__(self, optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
        """Return a live scheduler of the optimizer."""
        from pytest_trainstep.strategies._optimizers import build_scheduler

        return build_scheduler(self, optimizer)
