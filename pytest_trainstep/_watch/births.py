"""Where NaN and infinity are born: the first operation, or autograd node, that makes them from finite numbers."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from types import FrameType
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from . import graph, sites

_NODE_LIMIT = 20_000
# These put infinities in place on purpose: masks, start values.
_FILLS = {"masked_fill", "masked_fill_", "full", "full_like", "new_full", "fill_", "tensor", "as_tensor"}
_FILLS |= {"scalar_tensor", "new_tensor", "__setitem__", "where", "empty", "empty_like", "new_empty"}
_CHECKS = {"isfinite", "isnan", "isinf"}
_SILENT = {"__get__", "__set__", "backward", "__repr__", *_CHECKS}


@dataclasses.dataclass(frozen=True, slots=True)
class Birth:
    """Where something became NaN or infinite."""

    by: str
    at: str | None
    value: str
    module: str | None = None
    given: str | None = None


class Births(TorchFunctionMode):
    """Looks at the result of every torch function of one call."""

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        super().__init__()
        names = [(prefix, *pair) for prefix, module in modules.items() for pair in module.named_modules()]
        self._modules = {id(inner): ".".join(part for part in (prefix, name) if part) for prefix, name, inner in names}
        self.in_graph: Birth | None = None
        self.outside: Birth | None = None
        self.paused = False  # an optimizer is at work
        self.checks = False  # the program looks out for NaN or infinity itself
        self.entered: str | None = None  # where a tensor that was not finite already came in

    def first(self) -> Birth | None:
        """Return the birth that matters: one with a graph before one without."""
        return self.in_graph or self.outside

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if torch.compiler.is_compiling():  # traced into a graph: the observer must not become a part of it
            return result
        name = str(getattr(func, "__name__", func))
        self.checks = self.checks or name in _CHECKS
        if self.in_graph is None and not self.paused and name not in _SILENT:
            try:
                self._note(name, args, kwargs or {}, result)
            except Exception:  # noqa: BLE001 - a birth that is missed leaves the message poorer, no more
                return result
        return result

    def _note(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> None:
        for output in _floats([result]):
            node = output.grad_fn
            if node is not None:
                metadata: Any = node.metadata  # a property, whatever the stubs say
                metadata["trainstep"] = sites.here()
            value = not_finite(output)
            if value is None:
                continue
            inputs = [*_floats(args), *_floats(kwargs.values())]
            if any(not_finite(one) is not None for one in inputs):
                if value == "NaN" and node is not None and self.entered is None:
                    self.entered = sites.here()
                continue
            if name in _FILLS:
                continue
            birth = Birth(name, sites.here(), value, self._module(), _given(inputs))
            if node is not None:
                self.in_graph = birth
                return
            self.outside = self.outside or birth

    def _module(self) -> str | None:
        """Return the name of the nearest watched submodule whose code is running."""
        frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the documented way to walk a stack cheaply
        while frame is not None:
            name = self._modules.get(id(frame.f_locals.get("self")))
            if name:
                return name
            frame = frame.f_back
        return None


class NodeBirths:
    """Looks at the results of every autograd node of one backward pass."""

    def __init__(self) -> None:
        self.first: Birth | None = None

    def listen(self, roots: Sequence[Any]) -> None:
        """Put a hook on every node that a backward pass from `roots` will run."""
        seen: set[Any] = set()
        stack = [(node, None) for node in graph.root_nodes(roots)]
        while stack and len(seen) < _NODE_LIMIT:
            node, above = stack.pop()
            if node in seen or type(node).__name__ == "AccumulateGrad":
                continue
            seen.add(node)
            at = node.metadata.get("trainstep", above)  # a composite operation makes several nodes
            node.register_hook(self._listener(str(node.name()), at))
            stack.extend((child, at) for child, _ in node.next_functions if child is not None)

    def _listener(self, name: str, at: str | None) -> Any:
        def ran(made: Any, given: Any) -> None:
            if self.first is not None:
                return
            try:
                value = next((word for one in _floats([made]) if (word := not_finite(one))), None)
                if value and not any(not_finite(one) for one in _floats([given])):
                    self.first = Birth(name, at, value)
            except Exception:  # noqa: BLE001 - as in Births
                return

        return ran


def compiled(modules: Mapping[str, nn.Module]) -> bool:
    """Tell whether some of it is compiled, and would be compiled anew under a mode."""
    return any(hasattr(inner, "_orig_mod") for one in modules.values() for inner in one.modules())


def not_finite(tensor: torch.Tensor) -> str | None:
    """Return `NaN`, `inf` or `-inf` for a tensor that holds one, None for a finite one."""
    values = tensor.detach()
    if values.device.type == "meta" or values.layout is not torch.strided or not values.numel():
        return None
    if bool(torch.isfinite(values).all()):
        return None
    if bool(torch.isnan(values).any()):
        return "NaN"
    return "inf" if values.is_complex() or bool((values == math.inf).any()) else "-inf"


def _given(inputs: Sequence[torch.Tensor]) -> str | None:
    """Describe the numbers that went in: one line, no values but the extremes."""
    words = []
    for one in inputs[:2]:
        if one.is_complex() or not one.numel():
            continue
        low, high = (float(value) for value in torch.aminmax(one.detach().float()))
        words.append(f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}")
    return " and ".join(words) or None


def _floats(values: Any, depth: int = 3) -> Iterator[torch.Tensor]:
    for value in values:
        if isinstance(value, torch.Tensor):
            if value.is_floating_point() or value.is_complex():
                yield value
        elif depth and isinstance(value, list | tuple):
            yield from _floats(value, depth - 1)
        elif depth and isinstance(value, Mapping):
            yield from _floats(value.values(), depth - 1)
