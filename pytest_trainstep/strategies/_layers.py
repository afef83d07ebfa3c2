"""The layers of drawn models. None is initialised here: ``_models`` fills them from a generator of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations


def empty(*shape: int, dtype: torch.dtype | None = None) -> nn.Parameter:
    """Return a parameter that is yet to be filled."""
    return nn.Parameter(torch.empty(shape, dtype=dtype))


class Scale(nn.Module):
    """Multiplies by a parameter without dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = empty()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


class Gain(nn.Module):
    """Multiplies by a parameter of one element."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = empty(1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gain


class Offset(nn.Module):
    """Adds a vector."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.offset = empty(width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.offset


class Added(nn.Module):
    """Adds what a layer makes of its input to the input: what comes before keeps its gradient, whatever that drops."""

    def __init__(self, name: str, layer: nn.Module) -> None:
        super().__init__()
        self.name = name
        self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.get_submodule(self.name)(x)  # type: ignore[no-any-return]


class BatchNormed(nn.Module):
    """Adds the input, normalised over the batch; a single sample, which has no variance, by the running statistics."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = uninitialised(nn.BatchNorm1d, width)

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > 1:
            return x + self.norm(x)  # type: ignore[no-any-return]
        norm = self.norm
        return x + nn.functional.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias)


class Packed(nn.Module):
    """A linear layer whose weight and bias are views of one buffer, as where parameters are flattened."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = empty(width, width)
        self.bias = empty(width)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight, self.bias)

    def pack(self) -> None:
        """Move the values of both into one buffer."""
        packed = (self.weight, self.bias)
        buffer = torch.cat([parameter.detach().flatten() for parameter in packed])
        for parameter, values in zip(packed, torch.split(buffer, [p.numel() for p in packed]), strict=True):
            parameter.data = values.view(parameter.shape)


class Residual(nn.Module):
    """A linear layer and a skip over it."""

    def __init__(self, width: int, *, bias: bool) -> None:
        super().__init__()
        self.branch = nn.Sequential(linear(width, width, bias=bias), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)  # type: ignore[no-any-return]


class Reused(nn.Module):
    """One layer under two names, used twice."""

    def __init__(self, width: int, *, bias: bool) -> None:
        super().__init__()
        self.first = self.second = linear(width, width, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.tanh(self.first(x)))  # type: ignore[no-any-return]


class Tied(nn.Module):
    """Two layers that share one weight."""

    def __init__(self, width: int, *, bias: bool) -> None:
        super().__init__()
        self.first = linear(width, width, bias=bias)
        self.second = linear(width, width, bias=bias)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.tanh(self.first(x)))  # type: ignore[no-any-return]


class Experts(nn.Module):
    """Two matrices in one parameter of three dimensions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.experts = empty(2, width, width)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x @ self.experts[0]) + x @ self.experts[1]


class Vectors(nn.Module):
    """A dozen vectors of one shape in a ``ParameterList``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.vectors = nn.ParameterList([empty(width) for _ in range(12)])

    def forward(self, x: Tensor) -> Tensor:
        # Without the tanh all gradients would be one tensor, and clipping in place would clip it twelve times.
        return x + torch.tanh(torch.stack(tuple(self.vectors))).sum(0)


class Table(nn.Module):
    """A factor and a summand in a ``ParameterDict``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.table = nn.ParameterDict({"alpha": empty(width), "beta": empty(width)})

    def forward(self, x: Tensor) -> Tensor:
        return x * self.table["alpha"] + self.table["beta"]  # type: ignore[no-any-return]


class Rotation(nn.Module):
    """Multiplies by complex numbers and adds up their parts."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.rotation = empty(width, dtype=torch.complex64)

    def forward(self, x: Tensor) -> Tensor:
        turned = x * self.rotation
        return turned.real + 0.5 * turned.imag


class LastState(nn.Module):
    """The last output of a recurrent layer."""

    def __init__(self, recurrent: nn.Module) -> None:
        super().__init__()
        self.recurrent = recurrent

    def forward(self, x: Tensor) -> Tensor:
        return self.recurrent(x)[0][:, -1]  # type: ignore[no-any-return]  # (batch, width)


class Pooled(nn.Module):
    """The mean over positions of a layer's output."""

    def __init__(self, layer: nn.Module, dims: tuple[int, ...]) -> None:
        super().__init__()
        self.layer = layer
        self.dims = dims

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.layer(x)).mean(self.dims)


class Attention(nn.Module):
    """Self-attention over a sequence, and the mean over its positions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        # On meta the global stream is not touched; and it holds a layer that initialises itself.
        self.attention = nn.MultiheadAttention(width, 1, batch_first=True, device="meta")

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(2 * x, 2 * x, x, need_weights=False)[0].mean(1)  # type: ignore[no-any-return]


def uninitialised(layer: type[M], *arguments: int, **options: bool) -> M:
    """Return a layer without initial values: they would come from the global stream, and take most of the time."""
    if layer not in EASY:
        EASY[layer] = type(layer.__name__, (layer,), {"reset_parameters": lambda _: None})
    made: M = EASY[layer](*arguments, **options)
    made.__class__ = layer  # the very class, for those who ask for it
    return made


EASY: dict[type[nn.Module], Any] = {}
M = TypeVar("M", bound=nn.Module)


def linear(inputs: int, outputs: int, *, bias: bool = True, layout: str = "") -> nn.Linear:
    """Return a linear layer; ``layout`` says how ``_models`` stores its weight."""
    layer = uninitialised(nn.Linear, inputs, outputs, bias=bias)
    if layout:
        layer.weight.layout_wanted = layout  # type: ignore[attr-defined]
    return layer


def frozen(width: int, *, bias: bool) -> nn.Module:
    """Return a linear layer that is not to be trained."""
    return linear(width, width, bias=bias).requires_grad_(requires_grad=False)


STEMS: Final[dict[str, tuple[str, Callable[[int, bool], nn.Module]]]] = {
    "embedding": ("tokens", lambda w, _: Pooled(uninitialised(nn.Embedding, 4, w), (1,))),
    "conv2d": ("image", lambda w, b: Pooled(uninitialised(nn.Conv2d, 2, w, 2, bias=b), (2, 3))),
    "conv1d": ("series", lambda w, b: Pooled(uninitialised(nn.Conv1d, 2, w, 2, bias=b), (2,))),
    "lstm": ("sequence", lambda w, b: LastState(uninitialised(nn.LSTM, w, w, bias=b, batch_first=True))),
    "gru": ("sequence", lambda w, b: LastState(uninitialised(nn.GRU, w, w, bias=b, batch_first=True))),
    "rnn": ("sequence", lambda w, b: LastState(uninitialised(nn.RNN, w, w, bias=b, batch_first=True))),
    "attention": ("sequence", lambda w, _: Attention(w)),
}
"""Layers that come first: the kind of inputs they read, and how they are built from width and bias."""

BLOCKS: Final[dict[str, Callable[[int, bool], nn.Module]]] = {
    "linear": lambda w, b: linear(w, w, bias=b),
    "tanh": lambda _, __: nn.Tanh(),
    "gelu": lambda _, __: nn.GELU(),
    "relu": lambda _, __: Added("activation", nn.ReLU()),
    "dropout": lambda _, __: Added("dropout", nn.Dropout(0.0)),  # chance would move gradients after they are measured
    "layer_norm": lambda w, _: Added("norm", uninitialised(nn.LayerNorm, w)),
    "batch_norm": lambda w, _: BatchNormed(w),
    "group_norm": lambda w, _: Added("norm", uninitialised(nn.GroupNorm, 1, w)),
    "rms_norm": lambda w, _: Added("norm", uninitialised(nn.RMSNorm, w)),
    "residual": lambda w, b: Residual(w, bias=b),
    "offset": lambda w, _: Offset(w),
    "prelu": lambda _, __: Added("activation", nn.PReLU()),
    "gain": lambda _, __: Gain(),
    "scale": lambda _, __: Scale(),
    "reused": lambda w, b: Reused(w, bias=b),
    "tied": lambda w, b: Tied(w, bias=b),
    "frozen": lambda w, b: frozen(w, bias=b),
    "transposed": lambda w, b: linear(w, w, bias=b, layout="transposed"),
    "sliced": lambda w, b: linear(w, w, bias=b, layout="sliced"),
    "packed": lambda w, _: Packed(w),
    "experts": lambda w, _: Experts(w),
    "table": lambda w, _: Table(w),
    "vectors": lambda w, _: Vectors(w),
    "weight_norm": lambda w, b: parametrizations.weight_norm(linear(w, w, bias=b)),
    "complex": lambda w, _: Rotation(w),
}
"""Layers from features to as many features, from the ordinary to the exotic."""

PLAIN: Final = frozenset({"linear", "tanh", "gelu"})
MATRICES: Final = ("linear", "tanh", "gelu", "relu", "dropout", "reused", "tied", "transposed", "sliced", "residual")
"""Layers whose parameters are all matrices if they have no bias."""
LOW_PRECISION: Final = (
    "embedding", "conv2d", "conv1d", "linear", "tanh", "relu", "residual", "offset", "gain", "scale", "reused", "tied", "frozen", "transposed",
    "sliced", "packed", "experts", "table", "vectors",
)  # fmt: skip
"""Layers whose gradients are far from zero in 16 bits, too."""
