"""Experimental: a device that holds real values, claims to be ``meta``, and refuses to mix with the CPU.

A tensor of it wraps one of the CPU. A mode, on while the device is in use, wraps what factory functions and copies
make for ``meta``. Known limits: it prints as ``meta``; autocast, generators, pinned memory and ``fused=True`` have no
place on it.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Self

import torch
from torch.overrides import TorchFunctionMode
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


class LiteralMode(TorchFunctionMode):
    """Makes tensors of Python numbers: for ``meta`` torch drops the numbers before any operator is called."""

    def __torch_function__(
        self,
        func: Any,  # noqa: ANN401
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        options = dict(kwargs or {})
        if func not in LITERAL or not _is_meta(options.get("device")) or any(isinstance(a, torch.Tensor) for a in args):
            return func(*args, **options)
        requires_grad = options.pop("requires_grad", False)
        made = func(*args, **(options | {"device": "cpu"}))
        return made.to("meta").requires_grad_(requires_grad)


LITERAL = frozenset({torch.tensor, torch.as_tensor, torch.asarray})


def _is_meta(device: Any) -> bool:  # noqa: ANN401  # whatever torch takes for a device
    return device is not None and torch.device(device).type == "meta"


def run(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """Run an operator on the values that are held, and wrap what it returns, if it belongs to the device."""
    leaves, tree = tree_flatten((tuple(args), dict(kwargs)))
    strict = any(isinstance(leaf, Held) for leaf in leaves)
    wanted = kwargs.get("device")
    if not strict and not _is_meta(wanted):
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
    leaves_device = name == "aten::_to_copy" and wanted is not None and not _is_meta(wanted)
    return made if leaves_device else tree_map(_wrapped, made)


def _written(args: Sequence[Any], made: Any, owners: dict[int, Held]) -> Any:  # noqa: ANN401
    """Return, for what was written in place, the tensor that holds it."""
    return tree_map(lambda value: owners.get(id(value), value if args and value is args[0] else _wrapped(value)), made)


def _wrapped(value: Any) -> Any:  # noqa: ANN401
    return Held(value) if isinstance(value, torch.Tensor) and not isinstance(value, Held) else value


MODES: list[contextlib.ExitStack] = []


def switch_on() -> None:
    """Let factory functions and copies make tensors of the device, in this thread."""
    with contextlib.ExitStack() as modes:
        modes.enter_context(StrictMode())  # type: ignore[no-untyped-call]
        modes.enter_context(LiteralMode())
        MODES.append(modes.pop_all())


def switch_off() -> None:
    """Let ``meta`` be meta again."""
    MODES.pop().close()
