"""Weights of an optimizer that has not stepped: were they written all the same, by hand or in a backward pass?"""

from __future__ import annotations

from typing import Any

import torch

from .kept import measurable
from .owners import tensors_of

_SOME = 2  # tensors whose values are kept
_SMALL = 65_536  # elements of the largest of them


class Unstepped:
    """Keeps how often the tensors had been written, and the values of a few small ones.

    `.data` and numpy write without a count. Of these few it also keeps a tensor of its own that shares their memory, and
    does not keep the user's: what is written after the last backward pass is seen though the model is gone by then.
    """

    def __init__(self, optimizer: Any) -> None:
        tensors = tensors_of(optimizer)
        small = sorted((one for one in tensors if measurable(one) and one.numel() <= _SMALL), key=torch.Tensor.numel)
        self._count = _writes(tensors)
        self._shared = [tensor.detach() for tensor in small[:_SOME]]
        self._counts = list(map(_version, self._shared))
        self._values = [shared.clone() for shared in self._shared]
        self._ids = [id(tensor) for tensor in small[:_SOME]]

    def written(self, optimizer: Any | None) -> bool:
        """Tell whether something was written since; `optimizer` is None when it is gone."""
        if optimizer is not None:
            tensors = tensors_of(optimizer)
            now = {id(tensor): tensor for tensor in tensors}
            if _writes(tensors) != self._count or self._differ([now.get(number) for number in self._ids]):
                return True
        return list(map(_version, self._shared)) != self._counts or self._differ(self._shared)

    def _differ(self, tensors: list[torch.Tensor | None]) -> bool:
        pairs = zip(tensors, self._values, strict=True)
        return any(one is not None and not _same(one, value) for one, value in pairs)


def _same(one: torch.Tensor, value: torch.Tensor) -> bool:
    if one.dtype != value.dtype or one.device != value.device:
        return True  # converted, which is no training
    try:
        return bool(torch.equal(torch.nan_to_num(one.detach()), torch.nan_to_num(value)))
    except RuntimeError:  # its memory has been given back
        return True


def _writes(tensors: list[Any]) -> int:
    return sum(map(_version, tensors))


def _version(tensor: Any) -> int:
    return 0 if tensor.is_inference() else int(tensor._version)  # noqa: SLF001 - the only clock a tensor has
