"""From a ``ModelSpec`` to a live model, filled from a generator of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pytest_trainstep.strategies._layers import BLOCKS, STEMS, Packed, empty, linear, uninitialised
from pytest_trainstep.strategies._live import at_end
from pytest_trainstep.strategies._specs import ModelSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OUTPUTS = 2
"""What every drawn model gives for one sample."""


class Drawn(nn.Module):
    """A model that knows its spec and prints as the code that makes it."""

    spec: ModelSpec

    def __repr__(self) -> str:
        # Hypothesis prints the arguments of an `@example` inside the execution and before the body of the test: the
        # moment to promise that what is trained now will not be seen by the next execution.
        at_end(self._restart)
        return f"{self.spec!r}.build()"

    def _restart(self) -> None:
        self.__dict__ = build_model(self.spec).__dict__


class Bare(Drawn, nn.Linear):
    """A single linear layer, its parameters at the root."""


class Chain(Drawn, nn.Sequential):
    """Layers in a ``Sequential``."""


class Parts(Drawn):
    """Layers as attributes: what comes first, what is between, and the head."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        *body, self.head = layers
        self.body = nn.Sequential(*body)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))  # type: ignore[no-any-return]


class Listed(Drawn):
    """Layers in a ``ModuleList``."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class Mapped(Drawn):
    """Layers in a ``ModuleDict``."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.stages = nn.ModuleDict({f"stage{n}": layer for n, layer in enumerate(layers)})

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.stages.values():
            x = layer(x)
        return x


class Rooted(Drawn):
    """Layers, and a parameter that belongs to no layer."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.temperature = empty(OUTPUTS)
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x) * self.temperature  # type: ignore[no-any-return]


CONTAINERS: dict[str, Callable[[list[nn.Module]], Drawn]] = {
    "sequential": lambda layers: Chain(*layers),
    "module": Parts,
    "list": Listed,
    "dict": Mapped,
    "root": Rooted,
}


def build_model(spec: ModelSpec) -> Drawn:
    """Return a new live model, on the CPU."""
    if spec.container == "bare":
        model: Drawn = uninitialised(Bare, spec.width, OUTPUTS, bias=spec.bias)
    else:
        layers = [*_between(spec), linear(spec.width, OUTPUTS, bias=spec.bias)]
        for _ in range(spec.nesting):
            layers = [nn.Sequential(*layers)]
        model = CONTAINERS[spec.container](layers)
    _fill(model, getattr(torch, spec.dtype), spec.seed)
    model.spec = spec
    return model


def _between(spec: ModelSpec) -> Iterator[nn.Module]:
    for place, name in enumerate(spec.layers):
        if name in STEMS and place == 0:
            yield STEMS[name][1](spec.width, spec.bias)
        else:
            yield BLOCKS[name](spec.width, spec.bias)


def _fill(model: nn.Module, dtype: torch.dtype, seed: int) -> None:
    filled: dict[nn.Parameter, nn.Parameter] = {}  # shared parameters stay shared
    modules = list(model.modules())  # each walk through a model takes as long as a layer
    owned = [parameter for module in modules for parameter in module._parameters.values()]  # noqa: SLF001
    draw = _values(sum(parameter.numel() for parameter in owned if parameter is not None), dtype, seed)
    for module in modules:
        for name, parameter in module._parameters.items():  # noqa: SLF001  # the public views hide shared ones
            if parameter is not None:
                if parameter not in filled:
                    values, draw = draw[: parameter.numel()], draw[parameter.numel() :]
                    filled[parameter] = _filled(name, parameter, values)
                module._parameters[name] = filled[parameter]  # noqa: SLF001
        if isinstance(module, nn.BatchNorm1d):
            module.running_mean = torch.zeros(module.num_features, dtype=dtype)
            module.running_var = torch.ones(module.num_features, dtype=dtype)
        elif isinstance(module, nn.RNNBase):
            module._init_flat_weights()  # noqa: SLF001  # it keeps a second list of its parameters
        elif isinstance(module, Packed):
            module.pack()


def _values(count: int, dtype: torch.dtype, seed: int) -> Tensor:
    """Return values between 0.5 and 1, or their opposites; in 16 bits all are positive: nothing cancels out."""
    values = torch.empty(count, dtype=dtype).uniform_(-1, 1, generator=torch.Generator().manual_seed(seed))
    if dtype in {torch.float32, torch.float64}:
        return values.sign().add_(values).mul_(0.5)
    return values.abs_().add_(1).mul_(0.5)


def _filled(name: str, empty: nn.Parameter, values: Tensor) -> nn.Parameter:
    """Return a parameter like ``empty`` with values of its own, away from zero for their size."""
    dims, wanted = empty.dim(), getattr(empty, "layout_wanted", "")
    if dims > 1:
        values = values * (empty.numel() / empty.shape[0]) ** -0.5
    elif dims == 0 or "norm" in name or name in {"weight", "gain"}:
        values = values.abs()
    elif "bias" in name or name in {"offset", "beta"} or name.isdigit():
        values = values * 0.1
    else:
        values = values.clone()
    values = values.view(empty.shape)
    if empty.is_complex():
        values = torch.complex(values, values.flip(0))
    return nn.Parameter(_laid_out(values, wanted), requires_grad=empty.requires_grad)


def _laid_out(values: Tensor, wanted: str) -> Tensor:
    if wanted == "transposed":
        return values.t().contiguous().t()
    if wanted == "sliced":
        return torch.cat([torch.zeros(1, dtype=values.dtype), values.flatten()])[1:].view(values.shape)
    return values
