"""The one place through which every backward pass of Python goes, and how to stand in it."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any, Protocol

_local = threading.local()
_INPUTS = 3  # of the engine's arguments after the roots: grad_outputs, retain_graph, create_graph, inputs


class Handler(Protocol):
    """What stands in the way of a backward pass: it calls `run`, with these roots or others, or does not."""

    def __call__(self, roots: Any, run: Callable[[Any], Any], /, *, accumulates: bool, inputs: Any) -> Any:
        """Answer for one pass.

        Args:
            roots: What is differentiated.
            run: Runs the pass from the roots it is given.
            accumulates: The pass adds to `.grad`, as `backward` does; `torch.autograd.grad` returns gradients.
            inputs: What it differentiates with respect to; None means every leaf.
        """


def uncompiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Keep a compiler out of a function that torch calls for us: what it notes must not be traced."""
    import torch

    quiet: Callable[..., Any] = getattr(torch, "_disable_dynamo", None) or torch.compiler.disable
    return quiet(function)  # type: ignore[no-any-return]


def intercept(handler: Handler) -> Callable[[], None]:
    """Let `handler` answer for every backward pass from now on; the result ends that."""
    undo: list[Callable[[], None]] = []
    if not _at_the_engine(handler, undo):
        _at_the_methods(handler, undo)

    def end() -> None:
        while undo:
            undo.pop()()

    return end


def swap(owner: Any, name: str, new: Any) -> Callable[[], None]:
    """Put `new` in the place of an attribute; the result puts the old one back."""
    old = getattr(owner, name)
    setattr(owner, name, new)

    def undo() -> None:
        if getattr(owner, name) is new:  # a patch that somebody else made since then stays
            setattr(owner, name, old)

    return undo


def _at_the_engine(handler: Handler, undo: list[Callable[[], None]]) -> bool:
    """Replace the private function, under both of its names; False in a torch that has another one."""
    import torch.autograd as outer
    import torch.autograd.graph as inner

    original: Any = getattr(inner, "_engine_run_backward", None)
    if original is None or not hasattr(outer, "_engine_run_backward"):
        return False
    there = [True]  # a patch above ours may keep us in the chain after we have gone
    undo.append(there.clear)

    @uncompiled
    @functools.wraps(original)
    def run(roots: Any, *args: Any, **kwargs: Any) -> Any:
        if not there:
            return original(roots, *args, **kwargs)
        return handler(
            roots,
            lambda these: original(these, *args, **kwargs),
            accumulates=bool(kwargs.get("accumulate_grad")),
            inputs=args[_INPUTS] if len(args) > _INPUTS else None,
        )

    undo += [swap(outer, "_engine_run_backward", run), swap(inner, "_engine_run_backward", run)]
    return True


def _at_the_methods(handler: Handler, undo: list[Callable[[], None]]) -> None:
    """Replace the two public functions instead. They do not hear `torch.autograd.grad`."""
    import torch

    method: Any = torch.Tensor.backward
    function: Any = torch.autograd.backward

    @functools.wraps(method)
    def backward(self: Any, *args: Any, **kwargs: Any) -> Any:
        return _once(handler, (self,), lambda these: method(these[0], *args, **kwargs))

    @functools.wraps(function)
    def backward_all(tensors: Any, *args: Any, **kwargs: Any) -> Any:
        return _once(handler, tensors, lambda these: function(these, *args, **kwargs))

    undo.append(swap(torch.Tensor, "backward", uncompiled(backward)))
    undo.append(swap(torch.autograd, "backward", uncompiled(backward_all)))


def _once(handler: Handler, roots: Any, run: Callable[[Any], Any]) -> Any:
    """`Tensor.backward` ends in `torch.autograd.backward`: the inner call is the same pass."""
    if getattr(_local, "inside", False):
        return run(roots)

    def marked(these: Any) -> Any:
        _local.inside = True
        try:
            return run(these)
        finally:
            _local.inside = False

    return handler(roots, marked, accumulates=True, inputs=None)
