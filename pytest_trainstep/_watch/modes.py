"""Dropout and batch statistics switched off, whatever the user's step says, for as long as two ways are compared."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - its usual name
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode

from .stage import unique

_DROPOUTS = {
    F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout, torch.dropout,
    torch.dropout_, torch.alpha_dropout, torch.alpha_dropout_, torch.feature_dropout, torch.feature_dropout_,
    torch.feature_alpha_dropout, torch.feature_alpha_dropout_,
}  # fmt: skip
_RECURRENT = {torch.lstm, torch.gru, torch.rnn_tanh, torch.rnn_relu}
_LAYERS = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)  # noqa: SLF001 - no public base classes


class Steady(TorchFunctionMode):
    """Takes the chance out of functional calls: dropout, dropout inside attention and recurrences, batch statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.precision = 0.0  # resolution of the coarsest dtype that autocast used

    def note_precision(self) -> None:
        """Note the dtype of autocast, where it is on."""
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                self.precision = max(self.precision, torch.finfo(torch.get_autocast_dtype(kind)).eps)

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func in _DROPOUTS:
            return args[0] if args else kwargs["input"]
        if func is F.batch_norm:
            args, kwargs = _steady_norm(args, kwargs)
        elif kwargs.get("training") is True:  # attention, rrelu: what they call inside is not seen here
            kwargs["training"] = False
        elif func is F.scaled_dot_product_attention:
            args, kwargs = _with(func, args, kwargs, 4, "dropout_p", 0.0)
        elif func in _RECURRENT and len(args) in (8, 9):  # (input, ..., dropout, train, bidirectional, batch_first)
            place = next((i for i, one in enumerate(args) if type(one) is float), None)
            args = [0.0 if i == place else one for i, one in enumerate(args)]
        return func(*args, **kwargs)


def _with(
    func: Any, args: Sequence[Any], kwargs: dict[str, Any], place: int, name: str, value: object
) -> tuple[Sequence[Any], dict[str, Any]]:
    if len(args) > place:
        return [*args[:place], value, *args[place + 1 :]], kwargs
    return args, {**kwargs, name: value}


def _steady_norm(args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[Sequence[Any], dict[str, Any]]:
    bound = inspect.signature(F.batch_norm).bind(*args, **kwargs)
    if bound.arguments.get("running_mean") is not None:
        bound.arguments["training"] = False
    return bound.args, bound.kwargs


@contextmanager
def steady(modules: Mapping[str, nn.Module], *, whole: bool) -> Iterator[Steady]:
    """Hold the models in eval mode (`whole`), or only their layers of dropout and batch statistics.

    Modes are left as they are at the end; whoever noted them before puts them back.
    """
    own = {id(inner) for inner in unique(modules) if whole or isinstance(inner, _LAYERS)}
    mode = Steady()

    def settle(module: nn.Module, *_: object) -> None:
        if id(module) in own:
            module.training = False
        mode.note_precision()

    for inner in unique(modules):
        settle(inner)
    handle = register_module_forward_pre_hook(settle)
    try:
        with mode, _settled_train(settle):
            yield mode
    finally:
        handle.remove()


@contextmanager
def _settled_train(settle: Callable[[nn.Module], None]) -> Iterator[None]:
    """Let `train()` and `eval()` settle every module that they have switched."""
    owner: Any = nn.Module
    original = owner.train

    @functools.wraps(original)
    def train(self: nn.Module, mode: bool = True) -> nn.Module:  # noqa: FBT001, FBT002 - torch's signature
        original(self, mode)
        for inner in nn.Module.modules(self):
            settle(inner)
        return self

    owner.train = train
    try:
        yield
    finally:
        if owner.train is train:
            owner.train = original


def normalises_by_batch(modules: Mapping[str, nn.Module]) -> list[str]:
    """Return the layers that use the statistics of the batch in eval mode too."""
    return [
        f"{prefix}.{name}" if prefix else name
        for prefix, module in modules.items()
        for name, inner in module.named_modules()
        if isinstance(inner, nn.modules.batchnorm._BatchNorm) and inner.running_mean is None  # noqa: SLF001 - as above
    ]
