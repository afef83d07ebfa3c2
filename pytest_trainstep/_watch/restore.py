"""Putting everything back: weights, buffers, modes, gradients, optimizers, random streams."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import UninitializedParameter

from .snapshots import without_values


@contextmanager
def random_streams_kept() -> Iterator[None]:
    """Give torch's, numpy's and Python's streams back as they were found."""
    undo = random_states()
    try:
        yield
    finally:
        undo()


def random_states() -> Callable[[], None]:
    """Note the states of the random streams; the returned callable restores them."""
    python = random.getstate()
    cpu = torch.get_rng_state()
    started = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    cuda = torch.cuda.get_rng_state_all() if started else None
    numpy = sys.modules.get("numpy.random")  # never imported: then nobody has used its stream
    state = numpy.get_state() if numpy is not None else None

    def restore() -> None:
        random.setstate(python)
        torch.set_rng_state(cpu)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)
        if numpy is not None:
            numpy.set_state(state)

    return restore


class Memory:
    """The state of models and optimizers at one moment, to go back to.

    Values are written back into the same tensor objects, so whatever refers to them goes on working.
    """

    def __init__(
        self,
        modules: Sequence[nn.Module],
        optimizers: Sequence[Any] = (),
        tensors: Sequence[torch.Tensor] = (),
    ) -> None:
        self._random = random_states()
        self._modules = [_ModuleMemory(inner) for module in modules for inner in module.modules()]
        seen: dict[int, torch.Tensor] = {id(tensor): tensor for tensor in tensors}
        for memory in self._modules:
            seen.update({id(tensor): tensor for tensor in memory.tensors()})
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                seen.update({id(tensor): tensor for tensor in group["params"]})
        self._tensors = [_TensorMemory(tensor) for tensor in seen.values()]
        self._optimizers = [_OptimizerMemory(optimizer) for optimizer in optimizers]
        self._grad_mode = torch.is_grad_enabled()

    def restore(self) -> None:
        """Put everything back, bit by bit."""
        for module in self._modules:
            module.restore()
        with torch.no_grad():
            for tensor in self._tensors:
                tensor.restore()
        for optimizer in self._optimizers:
            optimizer.restore()
        torch.set_grad_enabled(self._grad_mode)
        self._random()


class _ModuleMemory:
    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.training = module.training
        self.parameters = dict(module._parameters)  # noqa: SLF001 - where nn.Module keeps them
        self.buffers = dict(module._buffers)  # noqa: SLF001

    def tensors(self) -> Iterator[torch.Tensor]:
        for table in (self.parameters, self.buffers):
            yield from (tensor for tensor in table.values() if tensor is not None)

    def restore(self) -> None:
        self.module.training = self.training
        for table, kept in (
            (self.module._parameters, self.parameters),  # noqa: SLF001
            (self.module._buffers, self.buffers),  # noqa: SLF001
        ):
            table.clear()
            table.update(kept)  # type: ignore[arg-type]


class _TensorMemory:
    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor
        self.requires_grad = tensor.requires_grad
        self.storage = tensor.data if _plain(tensor) else None
        self.values = tensor.detach().clone() if _plain(tensor) else None
        self.grad = tensor.grad if tensor.is_leaf else None
        self.grad_values = None if self.grad is None else self.grad.detach().clone()

    def restore(self) -> None:
        if self.values is not None and self.storage is not None:
            if self.tensor.data_ptr() != self.storage.data_ptr() or self.tensor.dtype != self.values.dtype:
                self.tensor.data = self.storage
            # not `copy_` on the tensor itself: its version belongs to the user's graph
            self.tensor.data.copy_(self.values)
        if self.tensor.is_leaf:
            if self.tensor.requires_grad != self.requires_grad:
                self.tensor.requires_grad_(self.requires_grad)
            if self.grad is not None and self.grad_values is not None:
                write(self.grad, self.grad_values)
            if self.tensor.grad is not self.grad:
                self.tensor.grad = self.grad


def _plain(tensor: torch.Tensor) -> bool:
    lazy = isinstance(tensor, UninitializedParameter)
    return not lazy and not without_values(tensor)


def write(target: torch.Tensor, values: torch.Tensor) -> None:
    """Write values into a tensor, past its version counter."""
    if target.layout is torch.strided:
        target.data.copy_(values)
    else:
        target.detach().copy_(values)


class _OptimizerMemory:
    def __init__(self, optimizer: Any) -> None:
        self.optimizer = optimizer
        self.params = [list(group["params"]) for group in optimizer.param_groups]
        self.groups = [
            keep({key: value for key, value in group.items() if key != "params"}) for group in optimizer.param_groups
        ]
        state = getattr(optimizer, "state", None)
        self.state = keep(state) if isinstance(state, dict) else None

    def restore(self) -> None:
        groups = self.optimizer.param_groups
        del groups[len(self.groups) :]
        for group, params, kept in zip(groups, self.params, self.groups, strict=False):
            values = kept()
            group.clear()
            group.update({"params": params, **values})
        if self.state is not None:
            self.state()


def keep(value: Any) -> Callable[[], Any]:
    """Note a nest of tensors, dictionaries, lists and plain values; the result puts it back.

    Tensors, dictionaries and lists keep their identity: they are written into.
    """
    if isinstance(value, torch.Tensor):
        return _keep_tensor(value)
    if isinstance(value, dict):
        items = {key: keep(item) for key, item in value.items()}

        def back_dict() -> Any:
            restored = {key: item() for key, item in items.items()}
            value.clear()
            value.update(restored)
            return value

        return back_dict
    if isinstance(value, list):
        parts = [keep(item) for item in value]

        def back_list() -> Any:
            value[:] = [item() for item in parts]
            return value

        return back_list
    return lambda: value


def _keep_tensor(tensor: torch.Tensor) -> Callable[[], Any]:
    values = tensor.detach().clone()

    def back() -> torch.Tensor:
        with torch.no_grad():
            tensor.data.copy_(values)
        return tensor

    return back


def global_modes() -> Callable[[], None]:
    """Note torch's process-wide modes; the returned callable puts them back."""
    dtype, grad = torch.get_default_dtype(), torch.is_grad_enabled()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    anomaly = torch.is_anomaly_enabled()

    def restore() -> None:
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(grad)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        torch.set_anomaly_enabled(anomaly)

    return restore
