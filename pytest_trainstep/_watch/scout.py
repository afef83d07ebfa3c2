"""A scout hears what a session hears, for the sake of one claim, and adds what it has learnt to the record."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from pytest_trainstep._record import StepRecord

if TYPE_CHECKING:
    from .session import Session


class Scout:
    """Does nothing; its heirs override what they need. The session has heard each event already."""

    name = ""
    compiled = False  # the step is one compiled function: a mode would be traced into it

    def __init__(self, session: Session) -> None:
        self.session = session
        self.notes = session.notes

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Turn whatever goes wrong in here into a note: it must never reach the user's test."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - see above
            self.notes.append(f"internal: {self.name}: {type(error).__name__}: {error}")

    def begin(self) -> None:
        """The session has begun."""

    def end(self) -> None:
        """The session has ended: take every hook away."""

    def around(self, call: int) -> AbstractContextManager[object]:  # noqa: ARG002 - for its heirs
        """What the `call`-th call of the step runs in."""
        return nullcontext()

    def after_call(self, value: object) -> None:
        """The step has returned `value`."""

    def add_to(self, record: StepRecord) -> StepRecord:
        """Return the record with what was learnt."""
        return record

    # -- as `taps.Watcher` -----------------------------------------------------------------

    def before_step(self, optimizer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """See `taps.Watcher`."""

    def after_step(self, optimizer: Any) -> None:
        """See `taps.Watcher`."""

    def step_skipped(self, optimizer: Any, *, reported: bool) -> None:
        """See `taps.Watcher`."""

    def before_backward(self, roots: Any) -> object:  # noqa: ARG002 - for its heirs
        """See `taps.Watcher`."""
        return None

    def after_backward(self, token: object, error: BaseException | None) -> None:
        """See `taps.Watcher`."""

    def differentiated(self, inputs: Sequence[Any]) -> None:
        """See `taps.Watcher`."""
