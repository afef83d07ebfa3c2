"""Experimental: a device that holds real values, claims to be ``meta``, and refuses to mix with the CPU.

A tensor of it wraps one of the CPU. A mode, on while the device is in use, wraps what factory functions and copies
make for ``meta``. Known limits: it prints as ``meta``; autocast, generators, pinned memory and ``fused=True`` have no
place on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import torch
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

COPIES = frozenset({"aten::copy_", "aten::_to_copy", "aten::_copy_from"})


class Held(torch.Tensor):
    """A tensor on the strict device."""

    held: torch.Tensor

    def __new__(cls, held: torch.Tensor) -> Self:
        tensor: Self = torch.Tensor._make_wrapper_subclass(  # noqa: SLF001  # the documented way
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            layout=held.layout,
            device=torch.device("meta"),
            requires_grad=held.requires_grad,
        )
        tensor.held = held
        return tensor

    @property
    def data(self) -> torch.Tensor:
        """The values without their history."""
        return self.detach()

    @data.setter
    def data(self, value: torch.Tensor) -> None:
        # That of torch would keep the old values in `held`.
        self.held = value.held if isinstance(value, Held) else value

    def tolist(self) -> Any:  # noqa: ANN401  # a number or nested lists
        """Return the values as Python numbers."""
        return self.held.tolist()

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]  # torch passes more than it says
        cls,
        func: Any,  # noqa: ANN401  # an operator
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        return run(func, args, kwargs or {})


class StrictMode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Catches what has no strict tensor among its arguments, and may make one."""

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        return run(func, args, kwargs or {})


def run(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """Run an operator on the values that are held, and wrap what it returns, if it belongs to the device."""
    leaves, tree = tree_flatten((tuple(args), dict(kwargs)))
    strict = any(isinstance(leaf, Held) for leaf in leaves)
    wanted = kwargs.get("device")
    if not strict and (wanted is None or torch.device(wanted).type != "meta"):
        return func(*args, **kwargs)
    name = func._schema.name  # noqa: SLF001  # there is no other way to ask
    if name not in COPIES and strict:
        for leaf in leaves:
            if isinstance(leaf, torch.Tensor) and not isinstance(leaf, Held) and leaf.dim() > 0:
                raise RuntimeError(
                    "Expected all tensors to be on the same device, but found at least two devices, the strict "
                    f"simulated one and {leaf.device}! (when running {name})"
                )
    plain_args, plain_kwargs = tree_unflatten([leaf.held if isinstance(leaf, Held) else leaf for leaf in leaves], tree)
    if wanted is not None:
        plain_kwargs["device"] = "cpu"
    made = func(*plain_args, **plain_kwargs)
    if torch.Tag.inplace_view in func.tags:
        with no_dispatch():
            func(*args, **kwargs)  # the shape that the wrapper shows follows
    if func._schema.is_mutable:  # noqa: SLF001
        return _written(args, made, {id(leaf.held): leaf for leaf in leaves if isinstance(leaf, Held)})
    leaves_device = name == "aten::_to_copy" and wanted is not None and torch.device(wanted).type != "meta"
    return made if leaves_device else tree_map(_wrapped, made)


def _written(args: Sequence[Any], made: Any, owners: dict[int, Held]) -> Any:  # noqa: ANN401
    """Return, for what was written in place, the tensor that holds it."""
    return tree_map(lambda value: owners.get(id(value), value if args and value is args[0] else _wrapped(value)), made)


def _wrapped(value: Any) -> Any:  # noqa: ANN401
    return Held(value) if isinstance(value, torch.Tensor) and not isinstance(value, Held) else value


MODES: list[StrictMode] = []


def switch_on() -> None:
    """Let factory functions and copies make tensors of the device, in this thread."""
    mode = StrictMode()  # type: ignore[no-untyped-call]
    MODES.append(mode.__enter__())  # type: ignore[no-untyped-call]


def switch_off() -> None:
    """Let ``meta`` be meta again."""
    MODES.pop().__exit__(None, None, None)  # type: ignore[no-untyped-call]
