"""Comparing a run with its recording: at which step, in which quantity, they part."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple, TypedDict

from pytest_trainstep._diagnose.because import number
from pytest_trainstep._diagnose.finding import Finding, Reason
from pytest_trainstep._diagnose.sparkline import sparkline

# Measured on one model of each kind, 20 steps, 1 against 2 threads and other batch orders of the same sums; see docs.
TOLERANCES = {"float64": 1e-9, "float32": 1e-4, "bfloat16": 3e-2, "float16": 1e-2}
_QUANTITIES = ("lr", "loss", "gradient", "update", "size")
_EXACT = 1e-8  # of what is no result of a computation, and is written with nine digits
_SMALL = 1e-3
_NAMED = 3  # parameters in a message
_SUMMED, _AT_MOST = 100, 0.1  # one parameter at the end has gathered the rounding of all steps: of that, chaos is made


class Parting(NamedTuple):
    """Where a run leaves its recording."""

    step: int
    quantity: str
    recorded: Any
    now: Any


class Parted(TypedDict):
    """A parting in plain values, for reports; not-a-number and infinity are text."""

    recording: str
    step: int
    quantity: str
    cause: str
    claim: str
    because: str
    notes: list[str]
    curves: dict[str, dict[str, list[float | str | None]]]  # by quantity: `recorded` and `now`


def parted(
    parting: Parting, recorded: Mapping[str, Any], now: Mapping[str, Any], found: Finding, *, path: str
) -> Parted:
    """Return a parting with both curves of every quantity."""
    return Parted(
        recording=path,
        step=parting.step,
        quantity=parting.quantity,
        cause=found.causes[0],
        claim=found.claim,
        because=found.reasons[0].because,
        notes=list(found.notes),
        curves={
            key: {"recorded": _curve(recorded, key, group), "now": _curve(now, key, group)}
            for key, group in ((key, _group(parting) if key == "lr" else None) for key in _QUANTITIES)
        },
    )


def _group(parting: Parting) -> int:
    """The parameter group whose lr is drawn: the first that differs."""
    old, new = parting.recorded, parting.now
    if parting.quantity != "lr" or len(old) != len(new):
        return 0
    return next(place for place, pair in enumerate(zip(old, new, strict=True)) if pair[0] != pair[1])


def _curve(run: Mapping[str, Any], key: str, group: int | None) -> list[float | str | None]:
    values = [step.get(key) for step in run["steps"]]
    if group is None:
        return values
    return [lrs[group] if lrs and group < len(lrs) else None for lrs in values]


def first_parting(recorded: Mapping[str, Any], now: Mapping[str, Any], rtol: float) -> Parting | None:
    """Return the first step and quantity that differ by more than `rtol`, None if all agree."""
    before, after = set(recorded["weights"]), set(now["weights"])
    if before != after:
        return Parting(0, "parameters", _listed(before - after), _listed(after - before))
    length = max(len(recorded["steps"]), len(now["steps"]))
    if len(recorded["steps"]) != len(now["steps"]):
        return Parting(
            min(len(recorded["steps"]), len(now["steps"])) + 1, "steps", len(recorded["steps"]), len(now["steps"])
        )
    options: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    scale = {key: _scale(recorded["steps"], key) for key in _QUANTITIES}
    moved = 0.0
    for step in range(length):
        old, new = recorded["steps"][step], now["steps"][step]
        options = old.get("options", options[0]), new.get("options", options[1])
        told = _other_option(*options)
        if told is not None:
            return Parting(step + 1, *told)
        moved += old["update"] if isinstance(old.get("update"), float) else 0.0
        for key in _QUANTITIES:
            unit = moved if key == "size" else None  # what decay changes would drown in the weights themselves
            if not close(old.get(key), new.get(key), rtol, scale[key], unit=unit):
                return Parting(step + 1, key, old.get(key), new.get(key))
    return _weights(recorded, now, rtol, length)


def _listed(names: Collection[str]) -> str:
    shown = sorted(names)[:_NAMED]
    more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return "only " + ", ".join(shown) + more if names else "nothing else"


def _other_option(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[str, Any, Any] | None:
    """Compare what the optimizers were told, where both runs know it: versions of torch know other options."""
    for key in sorted(old.keys() & new.keys()):
        if not close(old[key], new[key], _EXACT, 0.0):
            return key, old[key], new[key]
    return None


def _weights(recorded: Mapping[str, Any], now: Mapping[str, Any], rtol: float, length: int) -> Parting | None:
    old, new = recorded["weights"], now["weights"]
    norms = {name: abs(pair[0]) if isinstance(pair[0], float) else 0.0 for name, pair in old.items()}
    noise = max(norms.values(), default=0.0) * _SMALL
    for name in sorted(old):
        if not close(old[name], new[name], max(rtol, min(rtol * _SUMMED, _AT_MOST)), max(norms[name], noise)):
            return Parting(length, f"weights of {name}", old[name], new[name])
    return None


def _scale(steps: Sequence[Mapping[str, Any]], key: str) -> float:
    """The largest value of the curve: noise in what has become small is measured against it, a thousandth of it."""
    values = [abs(one[key]) for one in steps if isinstance(one.get(key), float) and math.isfinite(one[key])]
    return max(values, default=0.0) * _SMALL


def close(old: Any, new: Any, rtol: float, scale: float, unit: float | None = None) -> bool:
    """Compare two numbers, or two lists of numbers; relative to `unit` where one is given."""
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(close(a, b, rtol, scale) for a, b in zip(old, new, strict=True))
    if old is None or new is None or isinstance(old, str) or isinstance(new, str):
        return bool(old == new)
    return bool(abs(old - new) <= rtol * (unit or max(abs(old), abs(new), scale)))


_CAUSES = {
    "steps": (
        "steps-changed",
        "the number of steps is another one",
        "pass the recorded number, or record anew",
    ),
    "parameters": (
        "parameters-changed",
        "the model has other parameters",
        "look at what the model is built of, or record anew",
    ),
    "lr": (
        "lr-changed",
        "the learning rate is another one",
        "look at the optimizer's groups and at the scheduler",
    ),
    "loss": (
        "loss-changed",
        "the loss is another one at the same learning rate: the model, its initialisation, the data, dropout or the loss",
        "look at what the forward pass and the loss are made of, and at the order in which layers are built",
    ),
    "gradient": (
        "gradient-changed",
        "from the same loss another gradient comes: its scale, accumulation, clipping, or what is detached",
        "look between the loss and the optimizer step",
    ),
    "update": (
        "update-changed",
        "from the same gradient another update comes: the optimizer itself, or what is done to the weights besides",
        "look at how the optimizer is built, and at what it is told during training",
    ),
}
_CAUSES["size"] = _CAUSES["update"]
_OPTION = ("option-changed", "an option of the optimizer is another one", "look at how the optimizer is built")
_WEIGHTS = (
    "weights-changed",
    "every step agrees and the weights at the end do not: something else writes to them",
    "look for what writes to the weights besides the optimizer",
)
_NAMES = {
    "steps": "the number of steps",
    "parameters": "the parameters",
    "lr": "the learning rate",
    "loss": "the loss",
    "gradient": "the norm of the gradient",
    "update": "the norm of the update",
    "size": "the norm of the weights",
}


def finding(
    parting: Parting, recorded: Mapping[str, Any], now: Mapping[str, Any], *, rtol: float, path: str, msg: str | None
) -> Finding:
    """Say where the run parts from its recording, with both curves."""
    other = _WEIGHTS if parting.quantity.startswith("weights of ") else _OPTION
    cause, what, how = _CAUSES.get(parting.quantity, other)
    where = f"at step {parting.step}" if parting.step else "from the beginning"
    name = _NAMES.get(parting.quantity, parting.quantity)
    measured = cause in ("loss-changed", "gradient-changed", "update-changed", "weights-changed")
    limit = f" (rtol {number(rtol)})" if measured else ""
    return Finding(
        claim=f"training parts from its recording {where}, in {name}: {show(parting.now)} now,"
        f" {show(parting.recorded)} recorded{limit}",
        causes=(cause,),
        reasons=(Reason(cause=cause, because=f"{what}.", fix=f"{how}."),),
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


def _rows(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[tuple[str, ...], ...]:
    """Both curves of each quantity, on one scale."""
    rows = []
    for key in ("loss", "gradient", "update"):
        old, new = ([_plotted(step.get(key)) for step in run["steps"]] for run in (recorded, now))
        rows.append((key, sparkline(old, beside=new), sparkline(new, beside=old)))
    return tuple(rows)


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
