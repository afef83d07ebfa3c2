"""Hears learning rate schedulers step, by their classes; the methods are put back afterwards."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch.optim import lr_scheduler

from pytest_trainstep._events import ScheduleEvent
from pytest_trainstep._record import StepRecord

from . import origins, sites
from .scout import Scout
from .stepping import EVENT_LIMIT

if TYPE_CHECKING:
    from .session import Session


class Schedules(Scout):
    """Notes each step of a scheduler whose optimizer trains a watched model."""

    name = "schedules"

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.events: list[tuple[ScheduleEvent, int]] = []
        self._undo: list[Callable[[], None]] = []
        self._stepped: set[int] = set()
        self._inside = False

    def begin(self) -> None:
        """Wrap `step` of every scheduler class that defines one."""
        self._stepped = {id(one) for one in origins.known() if origins.has_stepped(one)}
        for cls in _families(lr_scheduler.LRScheduler):
            if "step" in vars(cls) and cls is not lr_scheduler.ReduceLROnPlateau:  # which waits for a metric
                self._wrap(cls)

    def end(self) -> None:
        """Put the methods back."""
        while self._undo:
            self._undo.pop()()

    def _wrap(self, cls: Any) -> None:
        original = cls.step

        @functools.wraps(original)
        def step(scheduler: Any, *args: Any, **kwargs: Any) -> Any:
            if self._inside or getattr(scheduler, "_is_initial", False):
                return original(scheduler, *args, **kwargs)
            before: list[float] = []
            with self.guarded():
                before = _lrs(scheduler)
            self._inside = True
            try:
                return original(scheduler, *args, **kwargs)
            finally:
                self._inside = False
                with self.guarded():
                    self._note(scheduler, before)

        cls.step = step

        def undo() -> None:
            if cls.step is step:
                cls.step = original

        self._undo.append(undo)

    def _note(self, scheduler: Any, before: list[Any]) -> None:
        optimizer = getattr(scheduler, "optimizer", None)
        if optimizer is None or len(self.events) >= EVENT_LIMIT:
            return
        pairs = [(old, new) for old, new in zip(before, _lrs(scheduler), strict=False) if old != new]
        never = id(optimizer) not in self._stepped and not any(getattr(optimizer, "state", {}).values())
        event = ScheduleEvent(
            call=self.session.call,
            order=self.session.order,
            name=type(scheduler).__name__,
            at=sites.here(),
            unused_lr=pairs[0][0] if pairs and never else None,
            new_lr=pairs[0][1] if pairs else None,
        )
        self.events.append((event, id(optimizer)))

    def before_step(self, optimizer: Any, _args: tuple[Any, ...], _kwargs: dict[str, Any]) -> None:
        """From now on this optimizer has stepped."""
        self._stepped.add(id(optimizer))

    def step_skipped(self, optimizer: Any, *, reported: bool) -> None:  # noqa: ARG002 - the watcher's protocol
        """A skipped step would have been one."""
        self._stepped.add(id(optimizer))

    def add_to(self, record: StepRecord) -> StepRecord:
        """Hand over the events of optimizers that were seen."""
        known = {key: held.index for key, held in self.session.held.items()}
        events = [dataclasses.replace(event, optimizer=known[key]) for event, key in self.events if key in known]
        return dataclasses.replace(record, schedules=tuple(events))


def _families(cls: Any) -> list[Any]:
    found = [cls]
    for child in cls.__subclasses__():
        found += [one for one in _families(child) if one not in found]
    return found


def _lrs(scheduler: Any) -> list[Any]:
    groups = getattr(getattr(scheduler, "optimizer", None), "param_groups", ())
    return [float(group["lr"]) for group in groups if "lr" in group]
