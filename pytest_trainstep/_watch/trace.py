"""Following values through one more run of the step: what the loss depends on, and where the graph ends.

Every call of a torch function is seen by a `TorchFunctionMode`. For each parameter of interest the
trace knows whether a tensor was computed from its value, and if so whether autograd knows it too;
the first operation behind which autograd does not is the cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from . import sites

LIMIT = 2**30  # bytes of tensors that are kept to follow them; after that the trace has seen enough
_ESCAPES = {"item", "tolist", "numpy", "__float__", "__int__", "__array__", "__index__"}
_ARRAYS = {"numpy", "tolist", "__array__"}
_RETURNS = {"tensor", "as_tensor", "scalar_tensor", "full", "new_tensor", "full_like", "new_full"}
_SHAPES = {"zeros_like", "ones_like", "empty_like", "rand_like", "randn_like", "new_zeros", "new_ones", "new_empty"}
_FLAT = {"round", "floor", "ceil", "trunc", "fix", "sign", "sgn", "round_", "floor_", "sign_"}
_UPDATES = {"sub", "__sub__", "__rsub__", "rsub", "add", "__add__", "__radd__", "addcmul", "lerp", "addcdiv"}
_LOGGING = {*_ESCAPES, "detach", "data", "cpu", "clone", "backward", "isfinite", "isnan", "requires_grad"}
_SILENT = {"__repr__", "__len__", "size", "dim", "stride", "__hash__", "data_ptr", "untyped_storage"}


@dataclass(frozen=True, slots=True)
class Cut:
    """The operation behind which a value goes on without its graph."""

    by: str
    at: str | None
    no_grad: bool
    scalar: bool = False  # what went in was a single number: perhaps the finished loss


# what is known about one parameter in one tensor: None means "autograd knows"
Marks = dict[int, Cut | None]


@dataclass(slots=True)
class Trace:
    """What one traced run has shown, by number of the parameter."""

    used: set[int] = field(default_factory=set)
    loss: Marks | None = None  # of the root of backward, else of what the step returned
    from_backward: bool = False
    flat: dict[int, tuple[str, str | None]] = field(default_factory=dict)
    cleared: dict[int, tuple[str, str | None]] = field(default_factory=dict)
    computed: dict[int, str | None] = field(default_factory=dict)
    lost_loss: dict[int, str | None] = field(default_factory=dict)
    hook_zeroes: set[int] = field(default_factory=set)
    functional: bool = False
    backward_error: str | None = None


class Tracer(TorchFunctionMode):
    """Writes a `Trace` of the parameters `tensors` (by number) while it is entered."""

    def __init__(self, tensors: Mapping[int, torch.Tensor]) -> None:
        super().__init__()
        self.trace = Trace()
        self.tensors = dict(tensors)
        self.number = {id(tensor): number for number, tensor in tensors.items()}
        self.in_step = 0
        self.full = False
        self._bytes = 0
        # by tensor object, and by address for what comes back as another object (numpy, custom Functions)
        self._marks: dict[int, Marks] = {}
        self._by_address: dict[int, Marks] = {}
        self._gradients: set[int] = set()
        self._alive: list[object] = []  # so that no identity or address is used twice
        self._open_scalars: dict[int, tuple[set[int], str | None]] = {}  # losses not used so far
        self._escaped: Marks = {}
        self._through_numpy: Marks = {}
        self._last_escape: Marks = {}

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        clearing = _is_grad_setter(func)
        if clearing:
            self._note_setter(args)
        try:
            result = func(*args, **kwargs)
        except Exception as error:
            if _name(func) == "backward":  # refused before it reached the engine
                self.note_backward(list(_tensors(args)))
                self.trace.backward_error = f"{type(error).__name__}: {str(error).splitlines()[0]}"
            raise
        try:
            if not clearing:
                self._note(func, args, kwargs, result)
        except Exception:  # noqa: BLE001 - a trace that misses something is still worth having
            self._alive.append(None)
        return result

    # -- marks -----------------------------------------------------------------------------

    def marks_of(self, tensor: torch.Tensor) -> Marks:
        """Return what is known about the parameters in this tensor."""
        number = self.number.get(id(tensor))
        known = self._marks.get(id(tensor)) or self._by_address.get(_address(tensor))
        if known is None and number is None and tensor.is_floating_point() and not tensor.requires_grad:
            known = self._through_numpy  # a tensor from nowhere, after values went to numpy
        marks = dict(known or {})
        if number is not None and tensor.requires_grad:
            marks[number] = None
        return marks

    def _note(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> None:
        name = _name(func)
        if name in _SILENT or self.in_step or self.full:
            return
        inputs = [*_tensors(args), *_tensors(kwargs.values())]
        if name == "grad":  # the property, or torch.autograd.grad
            self._gradients.update(_address(one) for one in _tensors([result]))
            if func is torch.autograd.grad:
                self._close_scalars(inputs)
            return
        if name not in _LOGGING:
            self._close_scalars(inputs)
        self.trace.used.update(self.number[id(one)] for one in inputs if id(one) in self.number)
        if name.endswith("_") and not name.startswith("__"):
            self._note_gradient_write(name, inputs)
        self._note_outputs(name, inputs, list(_tensors([result])))

    def _note_outputs(self, name: str, inputs: list[torch.Tensor], outputs: list[torch.Tensor]) -> None:
        # of these only the shape goes on, no value
        marks, connected = self._gather([] if name in _SHAPES else inputs)
        if not outputs and name in _ESCAPES:
            self._note_escape(name, marks)
        if name in _RETURNS and self._escaped:
            marks = {**self._escaped, **marks}
        gradient = any(_address(one) in self._gradients for one in inputs)
        for output in outputs:
            if id(output) in self.number:
                continue  # an update of the parameter itself
            self._mark_output(name, output, marks, connected)
            if gradient:
                self._gradients.add(_address(output))
                if name in _UPDATES:
                    self._note_computed(inputs, output)

    def _gather(self, inputs: Sequence[torch.Tensor]) -> tuple[Marks, set[int]]:
        """Unite the marks of all inputs; tell for which parameters some input has a graph."""
        marks: Marks = {}
        connected: set[int] = set()
        for tensor in inputs:
            for number, cut in self.marks_of(tensor).items():
                if cut is None and tensor.requires_grad:
                    connected.add(number)
                    marks[number] = None
                elif number not in connected:
                    marks[number] = cut
        return marks, connected

    def _mark_output(self, name: str, output: torch.Tensor, marks: Marks, connected: set[int]) -> None:
        self._keep_alive(output)
        if not marks or self.full:
            return
        new: Marks = dict(self._marks.get(id(output), {}))  # an operation in place adds to what is there
        new.update(marks)
        if connected and not output.requires_grad:
            cut = Cut(name, sites.here(), not torch.is_grad_enabled(), output.numel() == 1)
            new.update(dict.fromkeys(connected, cut))
        self._marks[id(output)] = self._by_address[_address(output)] = new
        if connected and output.requires_grad:
            self._note_flat(name, output, connected)
            if output.dim() == 0:
                self._open_scalars[id(output)] = (set(connected), sites.here())

    def _keep_alive(self, output: torch.Tensor) -> None:
        self._alive.append(output)
        self._bytes += output.numel() * output.element_size()
        if self._bytes > LIMIT:
            self.full = True
            for store in (self._alive, self._marks, self._by_address, self._open_scalars):
                store.clear()

    def _close_scalars(self, inputs: Sequence[torch.Tensor]) -> None:
        for one in inputs:
            self._open_scalars.pop(id(one), None)

    # -- single observations ---------------------------------------------------------------

    def _note_escape(self, name: str, marks: Marks) -> None:
        left: Marks = {}
        for number, cut in marks.items():
            left[number] = cut or Cut(name, sites.here(), no_grad=False)
        self._escaped.update(left)
        if name in _ARRAYS:
            self._through_numpy.update(left)
        self._last_escape = marks

    def _note_flat(self, name: str, output: torch.Tensor, connected: set[int]) -> None:
        new = [number for number in connected if number not in self.trace.flat]
        if not new or not output.is_floating_point():
            return
        if name in _FLAT or (output.numel() and not bool(output.detach().any())):
            at = sites.here()
            for number in new:
                self.trace.flat[number] = (name, at)

    def _note_setter(self, args: Sequence[Any]) -> None:
        number = self.number.get(id(args[0])) if args else None
        if number is not None and len(args) > 1 and args[1] is None and args[0].grad is not None:
            self.trace.cleared[number] = ("grad = None", sites.here())

    def _note_gradient_write(self, name: str, inputs: Sequence[torch.Tensor]) -> None:
        written = {_address(one) for one in inputs}
        for number, tensor in self.tensors.items():
            if tensor.grad is not None and _address(tensor.grad) in written:
                self.trace.cleared[number] = (name.removeprefix("_foreach_"), sites.here())

    def _note_computed(self, inputs: Sequence[torch.Tensor], output: torch.Tensor) -> None:
        for one in inputs:
            number = self.number.get(id(one))
            if number is not None and output.shape == one.shape:
                self.trace.computed[number] = sites.here()

    # -- the loss --------------------------------------------------------------------------

    def note_backward(self, roots: Sequence[Any]) -> None:
        """A backward pass begins at `roots`: unite with what earlier passes reached."""
        if self.full:
            return
        found: Marks = dict(self.trace.loss or {}) if self.trace.from_backward else {}
        for root in roots:
            if isinstance(root, torch.Tensor):
                self._close_scalars([root])
                for number, cut in self.marks_of(root).items():
                    if cut is None or found.get(number, cut) is not None:
                        found[number] = cut
        self.trace.loss, self.trace.from_backward = found, True

    def note_return(self, value: Any) -> None:
        """The step has returned: without any backward pass, this is the best guess at the loss."""
        if self.full and not self.trace.from_backward:
            return
        if self.trace.from_backward:
            for numbers, at in self._open_scalars.values():
                self.trace.lost_loss.update(dict.fromkeys(numbers, at))
            return
        tensor = loss_in(value)
        marks = self.marks_of(tensor) if tensor is not None else self._last_escape
        # `return loss.detach()` is how losses are logged, not where the graph was lost
        kept = {number: None if cut and cut.scalar and not cut.no_grad else cut for number, cut in marks.items()}
        self.trace.loss = kept or None


def loss_in(value: Any) -> torch.Tensor | None:
    """Find the loss in what a step returned: a tensor, a mapping with `loss`, an object with `.loss`, a tuple."""
    if isinstance(value, torch.Tensor):
        return value
    if isinstance(value, Mapping):
        return loss_in(value.get("loss"))
    if isinstance(value, list | tuple):
        return next((one for one in value if isinstance(one, torch.Tensor)), None)
    found = getattr(value, "loss", None)
    return found if isinstance(found, torch.Tensor) else None


def _is_grad_setter(func: Any) -> bool:
    return getattr(func, "__name__", "") == "__set__" and _owner(func) == "grad"


def _owner(func: Any) -> str:
    return str(getattr(getattr(func, "__self__", None), "__name__", ""))


def _name(func: Any) -> str:
    name = str(getattr(func, "__name__", func))
    return _owner(func) if name == "__get__" else name


def _address(tensor: torch.Tensor) -> int:
    if tensor.layout is not torch.strided:
        return id(tensor)
    try:
        return tensor.untyped_storage().data_ptr() or id(tensor)
    except (RuntimeError, NotImplementedError):
        return id(tensor)


def _tensors(values: Any, depth: int = 3) -> Iterator[torch.Tensor]:
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif depth and isinstance(value, list | tuple):
            yield from _tensors(value, depth - 1)
        elif depth and isinstance(value, dict):
            yield from _tensors(value.values(), depth - 1)
