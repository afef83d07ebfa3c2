"""A watcher that hears everything and does nothing: for those that care about one kind of event."""

from __future__ import annotations

from typing import Any, Self

from . import taps


class Listener:
    """See `taps.Watcher`; listens inside a `with` block."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def before_step(self, optimizer: Any, /, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """An optimizer's `step` was entered."""

    def after_step(self, optimizer: Any, /) -> None:
        """It has returned."""

    def step_skipped(self, optimizer: Any, /, *, reported: bool) -> None:
        """A gradient scaler left it out."""

    def before_backward(self, roots: Any) -> object:
        """A backward pass is about to run."""

    def after_backward(self, token: object, error: BaseException | None) -> None:
        """It has ended."""

    def differentiated(self, inputs: Any) -> None:
        """`torch.autograd.grad` was called."""

    def __enter__(self) -> Self:
        taps.attach(self)
        return self

    def __exit__(self, *_: object) -> None:
        taps.detach(self)
