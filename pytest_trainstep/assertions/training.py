"""Running a step many times and measuring its loss, from wherever it can be read."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from pytest_trainstep._diagnose import course as courses
from pytest_trainstep._diagnose import learning
from pytest_trainstep._diagnose.finding import Reason, reasons_for
from pytest_trainstep._errors import TrainStepUsageError
from pytest_trainstep._record import ParameterRecord, StepRecord
from pytest_trainstep._watch import losses
from pytest_trainstep._watch import rerun as closer
from pytest_trainstep._watch.closing import Closing

from . import advice
from .watching import open_session

_MEASURED = 24  # times on the way; the last steps are measured one by one
_LAST = 10
_LONGEST = 20
_ZEROS = {"zero-gradient", "decay-only", "momentum-only"}


class Training:
    """`steps` calls of a step, watched, with a loss for each (or for some, where `loss_fn` measures it)."""

    def __init__(
        self,
        model: Any,
        step_fn: Callable[[], object],
        steps: int,
        loss_fn: Any,
        *,
        start: bool = False,
    ) -> None:
        if loss_fn is not None and not callable(loss_fn):
            msg = f"loss_fn must be callable without arguments, not {type(loss_fn).__name__}"
            raise TrainStepUsageError(msg)
        self.session = open_session(model, None)
        self.step_fn = step_fn
        self.steps = steps
        self.loss_fn = loss_fn
        self.measures_start = start and loss_fn is not None
        self.losses: list[float] = []
        self.roots: list[float | None] = []
        self.lrs: list[float | None] = []
        self._returned: list[float | None] = []
        self._named = True  # what the steps return is called a loss
        self._kind = "None"
        self._last = max(1, min(steps // 10, _LAST))
        self._maximizes = False

    def run(self) -> None:
        """Call the step, measure, and conclude the watch."""
        if self.measures_start:
            self._measure()
        self.session.begin()
        try:
            with losses.Roots() as heard:
                for call in range(1, self.steps + 1):
                    self.session.next_call(call)
                    self._step(heard)
                    if call < self.steps:
                        self.session.end_call()
                    if self.loss_fn is not None and self._is_due(call):
                        self._measure()
        except BaseException as error:
            self.session.stop()
            advice.add_note(error)
            raise
        self.session.stop()
        self._maximizes = heard.maximizes
        self._closing = Closing(self.session)
        self._record = self._closing.conclude()
        if self.loss_fn is None:
            self.losses = self._from_steps()

    def _step(self, heard: losses.Roots) -> None:
        value = self.step_fn()
        self._kind = f"{type(value).__name__} {list(value.shape)}" if hasattr(value, "shape") else type(value).__name__
        self._returned.append(losses.number_in(value))
        self._named = self._named and losses.is_named(value)
        root, lr = heard.take()
        self.roots.append(root)
        self.lrs.append(lr)

    def _is_due(self, call: int) -> bool:
        return call > self.steps - self._last or call % max(1, self.steps // _MEASURED) == 0

    def _measure(self) -> None:
        assert self.loss_fn is not None
        loss_fn = self.loss_fn
        self.losses.append(losses.undisturbed(self.session.modules, lambda: losses.asked(loss_fn)))

    def _from_steps(self) -> list[float]:
        """Take what the steps returned, else what backward started from.

        A bare number that rises while the root of backward falls is no loss (an accuracy, say), unless it is the
        root with the other sign.
        """
        returned = [value for value in self._returned if value is not None]
        roots = [value for value in self.roots if value is not None]
        other = (
            not self._named and len(roots) == self.steps and len(returned) == self.steps and _contrary(returned, roots)
        )
        if len(returned) == self.steps and not other:
            return returned
        if roots:
            return roots
        if returned:
            return returned
        msg = f"no loss can be read: step_fn returned {self._kind} and no backward pass ran; return the loss (a scalar), or pass loss_fn="
        raise TrainStepUsageError(msg)

    # -- numbers ---------------------------------------------------------------------------

    def start(self) -> float:
        """Return the first loss, or the median over the first fifth where that is higher."""
        first = self.losses[: self._fifth()]
        return max(first[0], statistics.median(first)) if all(map(math.isfinite, first)) else math.nan

    def end(self, *, fifth: bool = False) -> float:
        """Return the median over the last steps; with `loss_fn` the last value counts too, where it is lower."""
        last = self.losses[-(self._fifth() if fifth else self._last) :]
        if not all(map(math.isfinite, last)):
            return math.nan
        middle = statistics.median(last)
        return min(middle, last[-1]) if self.loss_fn is not None else middle

    def _fifth(self) -> int:
        return max(1, min(len(self.losses) // 5, _LONGEST))

    def calm(self, limit: float) -> float | None:
        """Return the loss by `loss_fn` with dropout off, where that is below the limit."""
        if self.loss_fn is None or not losses.dropouts(self.session.modules):
            return None
        loss_fn = self.loss_fn
        value: float = losses.undisturbed(self.session.modules, lambda: losses.asked(loss_fn), calm=True)
        return value if value < limit else None

    def noise(self) -> float:
        """Return a robust standard deviation of the losses around their course."""
        values = self.losses
        second = [a - 2 * b + c for a, b, c in zip(values, values[1:], values[2:], strict=False)]
        finite = [abs(value) for value in second if math.isfinite(value)]
        return statistics.median(finite) / (0.6745 * math.sqrt(6)) if finite else 0.0

    def record(self) -> StepRecord:
        """Return the record, with the losses as they were measured."""
        return dataclasses.replace(self._record, losses=tuple(self.losses))

    # -- causes ----------------------------------------------------------------------------

    def explain(self, end: float, limit: float, *, rerun: bool) -> tuple[courses.Course, list[Reason]]:
        """Return what was seen and why the loss is where it is."""
        record = self.record()
        facts: list[dict[str, Any]] = []
        if rerun and self.session.modules:
            refused, facts = losses.look_once_more(self.session.modules, self._closing.optimizers(), self.step_fn)
            record = dataclasses.replace(record, reran=not refused, rerun_note=refused)
            if refused is None and any(_still(row) for row in record.parameters.values()):
                record = closer.look_closer(self.session, self._closing.optimizers(), self.step_fn, record)
        trainable = [row for row in record.parameters.values() if row.trainable and not row.buffer and row.numel]
        still = [row for row in trainable if _still(row)]
        course = courses.Course(
            losses=tuple(self.losses),
            roots=tuple(self.roots),
            lrs=tuple(self.lrs),
            end=end,
            calm=self.calm(limit),
            maximizes=self._maximizes,
            alike=losses.units_alike(self.session.modules),
            calls=tuple(courses.LossCall(**one) for one in facts),
            record=record,
            failed=tuple(still),
        )
        return course, _reasons(course, trainable, still)


def _still(row: ParameterRecord) -> bool:
    return row.trainable and not row.moved and not row.buffer


def _reasons(
    course: courses.Course, trainable: Sequence[ParameterRecord], still: list[ParameterRecord]
) -> list[Reason]:
    """A loss that is not finite, then weights that do not move, then what the loss and the data show."""
    assert course.record is not None
    first = courses.first_reason(course, (learning.loss_not_finite,))
    if first is not None:
        return [first]
    if len(still) == len(trainable):
        reasons = list(reasons_for(still, course.record))
        zeros = all(reason.cause in _ZEROS for reason in reasons)
        behind = courses.first_reason(course, learning.BEHIND_ZEROS) if zeros else None
        return [behind] if behind else reasons or [courses.unexplained(course)]
    found = courses.first_reason(course, learning.OF_THE_COURSE)
    if found is not None:
        return [found]
    if still:
        return list(reasons_for(still, course.record))
    return [courses.first_reason(course, learning.LAST_OF_ALL) or courses.unexplained(course)]


def _contrary(returned: Sequence[float], roots: Sequence[float]) -> bool:
    """Tell whether one rises while the other falls, and they are not the same up to the sign."""
    if any(abs(a + b) <= 1e-4 * abs(b) for a, b in zip(returned, roots, strict=True)):
        return False
    part = max(1, len(roots) // 3)

    def fall(values: Sequence[float]) -> float:
        return statistics.median(values[:part]) - statistics.median(values[-part:])

    return fall(returned) < 0 < fall(roots)
