"""Which parameters a gradient that is not exactly zero has reached, seen as it arrives."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.parameter import UninitializedParameter

from pytest_trainstep._record import StepRecord

from . import measures
from .scout import Scout

if TYPE_CHECKING:
    from .session import Session


class Arrivals(Scout):
    """Hooks on the parameters see each gradient before `.grad` does, whatever becomes of it later."""

    name = "arrivals"

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.flowed: set[int] = set()
        self._handles: list[Any] = []
        self._hooked: dict[int, int] = {}  # the identity of the tensor that is hooked, by its number

    def begin(self) -> None:
        """Put the hooks on."""
        self._hook()

    def end(self) -> None:
        """Take them off."""
        for handle in self._handles:
            handle.remove()

    def _hook(self) -> None:
        for index, tensor in enumerate(self.session.tensors):
            if self._hooked.get(index) == id(tensor) or not tensor.requires_grad or not tensor.is_leaf:
                continue
            if isinstance(tensor, UninitializedParameter):  # it will be another tensor under the same identity
                continue
            self._hooked[index] = id(tensor)
            self._handles.append(tensor.register_hook(self._listener(index)))  # type: ignore[no-untyped-call]

    def _listener(self, index: int) -> Any:
        def arrived(grad: torch.Tensor | None) -> None:
            if index in self.flowed or grad is None:  # a custom Function may return None for it
                return
            with self.guarded():
                if measures.largest([grad])[0] != 0:
                    self.flowed.add(index)

        return arrived

    def before_backward(self, _roots: Any) -> object:
        """Parameters may have been unfrozen or replaced in the meantime."""
        self._hook()
        return None

    def before_step(self, optimizer: Any, _args: tuple[Any, ...], _kwargs: dict[str, Any]) -> None:
        """A gradient that the program puts together itself has arrived too."""
        held = self.session.held.get(id(optimizer))
        for index in held.indices if held else ():
            tensor = self.session.tensors[index]
            written = self.session.ledger.window[index] is None
            if index not in self.flowed and written and tensor.is_leaf and tensor.grad is not None:
                self._listener(index)(tensor.grad)

    def add_to(self, record: StepRecord) -> StepRecord:
        """Note for each parameter whether something came."""
        rows = dict(record.parameters)
        # functional training differentiates copies, and writes back what comes out
        copies = {shape for call in self.session.differentiated_shapes for shape in call}
        for index, slot in enumerate(self.session.slots):
            if slot.name in rows:
                row = rows[slot.name]
                copied = row.moved and row.shape in copies
                rows[slot.name] = dataclasses.replace(row, flowed=index in self.flowed or copied)
        return dataclasses.replace(record, parameters=rows)
