"""Telling dependence from rounding: what changed in which row, beside the effect of the replacement on itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_trainstep._diagnose.independence import Dependence
from pytest_trainstep._errors import TrainStepUsageError
from pytest_trainstep._watch import forwards, nests

CLEAR = 1e-3  # of the effect on itself: no rounding reaches that (see also ROUNDING)
ROUNDING = 256  # times the resolution of the dtype and the largest output
RELEVANT = 1e-7  # of the effect on itself, in float64
NEGLIGIBLE = 1e-9  # of the largest output, in float64
UNREPEATABLE = 1e-4  # of the largest output
_CHECKED = 16  # replacements looked at again in float64
_ROWS = 32  # rows of which gradients are taken


@dataclass(slots=True)
class _Trial:
    """One replacement: how much each row of each column changed."""

    index: int
    batch: Any
    changes: list[list[float]]


class Comparison:
    """Outputs for a batch, and for batches in which one sample (axis 0) or position (axis 1) is another one."""

    def __init__(
        self, runner: forwards.Runner, batch: Any, size: int, axis: int, columns: Sequence[nests.Column]
    ) -> None:
        self.runner = runner
        self.batch = batch
        self.size = size
        self.axis = axis
        self.columns = columns
        self.scales = [nests.magnitude(column) for column in columns]
        self.noise = [0.0] * len(columns)
        self.trials: list[_Trial] = []

    def repeats(self, again: Sequence[nests.Column]) -> bool:
        """Note how much the output differs without any replacement; false if that is more than noise."""
        self.noise = [max(rows) for rows in self._changes(again)]
        return all(noise <= UNREPEATABLE * scale for noise, scale in zip(self.noise, self.scales, strict=True))

    def add(self, index: int, batch: Any, columns: Sequence[nests.Column]) -> None:
        """Note what replacing `index` changed."""
        self.trials.append(_Trial(index, batch, self._changes(columns)))

    def _changes(self, columns: Sequence[nests.Column]) -> list[list[float]]:
        if len(columns) != len(self.columns):
            msg = (
                "the output for a batch with a replacement has another structure: pass forward= that returns one tensor"
            )
            raise TrainStepUsageError(msg)
        return [nests.change(before, after) for before, after in zip(self.columns, columns, strict=True)]

    def batch_of(self, index: int) -> Any:
        """Return the last batch in which `index` was replaced."""
        return next(trial.batch for trial in reversed(self.trials) if trial.index == index)

    def anything_changed(self) -> bool:
        """Tell whether any replacement changed anything."""
        return any(value for trial in self.trials for rows in trial.changes for value in rows)

    def past_shows(self) -> bool:
        """Tell whether some output depends on an earlier position."""
        return any(
            value > CLEAR * max(rows)
            for trial in self.trials
            for rows in trial.changes
            for value in rows[trial.index + 1 :]
        )

    def others_change(self, index: int, columns: Sequence[nests.Column]) -> bool:
        """Tell whether this output differs in other rows than `index`."""
        twin = Comparison(self.runner, self.batch, self.size, self.axis, self.columns)
        twin.noise = self.noise
        twin.add(index, self.batch, columns)
        clear, doubtful = twin._sorted()
        return bool(clear or doubtful)

    # -- gradients -------------------------------------------------------------------------

    def spread(self) -> list[int]:
        """Return the rows to take gradients of: all, or some over the whole length."""
        if self.size <= _ROWS:
            return list(range(self.size))
        return sorted({round(k * (self.size - 1) / (_ROWS - 1)) for k in range(_ROWS)})

    def suspect(self, row: int, gradients: Sequence[float]) -> int | None:
        """Return what the row should not depend on and has the largest gradient for; None if all are zero."""
        wrong = [index for index in range(self.size) if self._must_stay(row, index)]
        worst = max(wrong, key=lambda index: gradients[index], default=None)
        if worst is None or gradients[worst] <= RELEVANT * max(gradients):
            return None
        return worst

    # -- judging ---------------------------------------------------------------------------

    def _must_stay(self, row: int, index: int) -> bool:
        return row < index if self.axis else row != index

    def dependences(self) -> list[Dependence]:
        """Return what depends on what it should not depend on; doubtful cases are decided in float64."""
        clear, doubtful = self._sorted()
        if clear or not doubtful:
            return clear
        return self._in_double({one.replaced for one in doubtful})

    def _sorted(self) -> tuple[list[Dependence], list[Dependence]]:
        clear: list[Dependence] = []
        doubtful: list[Dependence] = []
        for place, column in enumerate(self.columns):
            floor = ROUNDING * nests.resolution(column) * self.scales[place] + 4 * self.noise[place]
            for one in self._pairs(place):
                sure = one.change > CLEAR * one.own and one.change > floor
                (clear if sure else doubtful).append(one)
        return _strongest(clear), _strongest(doubtful)

    def _pairs(self, place: int) -> Iterator[Dependence]:
        effect = max((max(trial.changes[place]) for trial in self.trials), default=0.0)
        for trial in self.trials:
            rows = trial.changes[place]
            own = (max(rows[trial.index :]) if self.axis else rows[trial.index]) or effect
            for row, value in enumerate(rows):
                if value and self._must_stay(row, trial.index):
                    yield Dependence(row=row, replaced=trial.index, change=value, own=own)

    def _in_double(self, indices: set[int]) -> list[Dependence]:
        twin = self.runner.in_double()
        if twin is None:
            return []
        try:
            columns = nests.columns_of(twin.run(forwards.in_double(self.batch)), self.size, self.axis)
            other = Comparison(twin, self.batch, self.size, self.axis, columns)
            if any(nests.resolution(column) > RELEVANT for column in columns):
                return []  # somewhere on the way it went back to float32
            for trial in [trial for trial in self.trials if trial.index in indices][:_CHECKED]:
                output = nests.columns_of(twin.run(forwards.in_double(trial.batch)), self.size, self.axis)
                other.add(trial.index, trial.batch, output)
        except Exception:  # noqa: BLE001 - a model that cannot run in float64 keeps the benefit of the doubt
            return []
        return _strongest(
            one
            for place, scale in enumerate(other.scales)
            for one in other._pairs(place)
            if one.change > RELEVANT * one.own and one.change > NEGLIGIBLE * scale
        )


def _strongest(found: Any) -> list[Dependence]:
    """Keep one dependence for each pair, the strongest."""
    best: dict[tuple[int, int], Dependence] = {}
    for one in found:
        known = best.get((one.row, one.replaced))
        if known is None or one.relative > known.relative:
            best[one.row, one.replaced] = one
    return list(best.values())
