"""Comparing a run with its recording: at which step, in which quantity, they part."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pytest_trainstep._diagnose.because import number
from pytest_trainstep._diagnose.finding import Finding, Reason
from pytest_trainstep._diagnose.sparkline import sparkline

# Measured on one model of each kind, 20 steps, 1 against 2 threads and other batch orders of the same sums; see docs.
TOLERANCES = {"float64": 1e-9, "float32": 1e-4, "bfloat16": 3e-2, "float16": 1e-2}
_QUANTITIES = ("lr", "loss", "gradient", "update", "size")


class Parting(NamedTuple):
    """Where a run leaves its recording."""

    step: int
    quantity: str
    recorded: Any
    now: Any


def first_parting(recorded: Mapping[str, Any], now: Mapping[str, Any], rtol: float) -> Parting | None:
    """Return the first step and quantity that differ by more than `rtol`, None if all agree."""
    length = max(len(recorded["steps"]), len(now["steps"]))
    if len(recorded["steps"]) != len(now["steps"]):
        return Parting(
            min(len(recorded["steps"]), len(now["steps"])) + 1, "steps", len(recorded["steps"]), len(now["steps"])
        )
    scale = {key: _scale(recorded["steps"], key) for key in _QUANTITIES}
    for step in range(length):
        old, new = recorded["steps"][step], now["steps"][step]
        for key in _QUANTITIES:
            if not close(old.get(key), new.get(key), rtol, scale[key], unit=_unit(key, old)):
                return Parting(step + 1, key, old.get(key), new.get(key))
    return _weights(recorded, now, rtol, length)


def _unit(key: str, step: Mapping[str, Any]) -> float | None:
    """The size of the weights is measured in updates: what decay changes would drown in the weights themselves."""
    update = step.get("update")
    return update if key == "size" and isinstance(update, float) and update else None


def _weights(recorded: Mapping[str, Any], now: Mapping[str, Any], rtol: float, length: int) -> Parting | None:
    old, new = recorded["weights"], now["weights"]
    if sorted(old) != sorted(new):
        return Parting(0, "parameters", ", ".join(sorted(set(old) - set(new))), ", ".join(sorted(set(new) - set(old))))
    for name in sorted(old):
        norm = abs(old[name][0]) if isinstance(old[name][0], float) else 0.0
        if not close(old[name], new[name], rtol, norm):
            return Parting(length, f"weights of {name}", old[name], new[name])
    return None


def _scale(steps: Sequence[Mapping[str, Any]], key: str) -> float:
    """The largest value of the curve: noise in what has become small is measured against it, a thousandth of it."""
    values = [abs(one[key]) for one in steps if isinstance(one.get(key), float) and math.isfinite(one[key])]
    return max(values, default=0.0) * 1e-3


def close(old: Any, new: Any, rtol: float, scale: float, unit: float | None = None) -> bool:
    """Compare two numbers, or two lists of numbers; relative to `unit` where one is given."""
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(close(a, b, rtol, scale) for a, b in zip(old, new, strict=True))
    if old is None or new is None or isinstance(old, str) or isinstance(new, str):
        return bool(old == new)
    return bool(abs(old - new) <= rtol * (unit or max(abs(old), abs(new), scale)))


_CAUSES = {
    "steps": ("steps-changed", "the number of steps is another one"),
    "parameters": ("parameters-changed", "the model has other parameters"),
    "lr": ("lr-changed", "the learning rate is another one"),
    "loss": (
        "loss-changed",
        "the loss is another one while the learning rate is the same: the model, its initialisation, the data, dropout or the loss itself",
    ),
    "gradient": (
        "gradient-changed",
        "from the same loss another gradient comes: its scale, accumulation, clipping, or what is detached",
    ),
    "update": (
        "update-changed",
        "from the same gradient another update comes: weight decay, momentum, betas, or the optimizer itself",
    ),
}
_CAUSES["size"] = _CAUSES["update"]
_WEIGHTS = ("weights-changed", "every step agrees and the weights at the end do not: something else writes to them")


def finding(
    parting: Parting, recorded: Mapping[str, Any], now: Mapping[str, Any], *, rtol: float, path: str, msg: str | None
) -> Finding:
    """Say where the run parts from its recording, with both curves."""
    cause, what = _CAUSES.get(parting.quantity, _WEIGHTS)
    where = f"at step {parting.step}" if parting.step else "from the beginning"
    difference = f"{show(parting.now)} now, {show(parting.recorded)} recorded (rtol {number(rtol)})"
    return Finding(
        claim=f"training parts from its recording {where} in {parting.quantity}: {difference}",
        causes=(cause,),
        reasons=(Reason(cause=cause, because=f"{what}.", fix=_FIX),),
        columns=("curve", "recorded", "now"),
        rows=_rows(recorded, now),
        on_purpose=f"run once with --trainstep-record=all to record anew ({path})",
        notes=_versions(recorded, now),
        msg=msg,
    )


def missing(path: str, msg: str | None) -> Finding:
    """Say that there is nothing to compare with, and that nothing may be written."""
    return Finding(
        claim=f"there is no recording {path}",
        causes=("recording-missing",),
        reasons=(
            Reason(
                cause="recording-missing",
                because="the recording was never made or not committed, and this run may not make one (--trainstep-record=none, the default in CI).",
                fix="run the test once with --trainstep-record=new outside CI and commit the file.",
            ),
        ),
        on_purpose="leave trainstep_recording.check out",
        msg=msg,
    )


_FIX = "look for what has changed in the training since the recording was made; its file is beside the test."


def _rows(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[tuple[str, ...], ...]:
    return tuple(
        (key, *(sparkline([_plotted(step.get(key)) for step in run["steps"]]) for run in (recorded, now)))
        for key in ("loss", "gradient", "update")
    )


def _plotted(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _versions(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, ...]:
    changed = [key for key in ("torch", "device", "dtype") if recorded.get(key) != now.get(key)]
    return tuple(f"recorded with {key} {recorded.get(key)}, now {now.get(key)}" for key in changed)


def show(value: Any) -> str:
    """Write a value for a message."""
    if isinstance(value, list):
        return "[" + ", ".join(show(item) for item in value) + "]"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
