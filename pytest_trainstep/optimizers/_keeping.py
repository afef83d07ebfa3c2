"""What is kept between steps: state that is saved, copied, added to, reproduced, and does not pile up."""

from __future__ import annotations

import copy
import io
import pickle
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ._moving import moves
from ._property import ONE, Property
from ._sizes import size_of
from ._subject import lr_of
from ._tensors import World, all_same, copies, same, values
from ._verdicts import ViolationError, words_of

if TYPE_CHECKING:
    from ._case import Case
    from ._trial import Trial

_CHANGED_BY = 0.5


def round_trip(case: Case, world: World) -> str | None:
    """A saved state, loaded into a fresh optimizer, goes on to the bit; so does an lr that was changed."""
    trial = case.trial(world)
    trial.steps(world.steps + case.patience - 2)
    for group in trial.optimizer.param_groups if case.no_lr is None else ():
        group["lr"] = group["lr"] * _CHANGED_BY
    kept = io.BytesIO()
    torch.save(trial.optimizer.state_dict(), kept)
    kept.seek(0)
    loaded = _load(kept)
    other = case.trial(world, [one.clone().requires_grad_() for one in copies(trial.params)])
    other.optimizer.load_state_dict(loaded)
    if lr_of(other.optimizer) != lr_of(trial.optimizer):
        raise ViolationError(f"lr is {lr_of(other.optimizer):g} after loading and was {lr_of(trial.optimizer):g}")
    lost = _lost(trial, other)
    _go_on(case, trial, other, f"after {trial.done} steps, saved and loaded", lost)
    return None


def _lost(trial: Trial, other: Trial) -> str:
    """Say what of the state is another after loading: a guess at the reason, for the message."""
    for place, pair in enumerate(zip(trial.params, other.params, strict=True)):
        was, now = (
            {**getattr(of.optimizer, "state", {}).get(one, {})} for of, one in zip((trial, other), pair, strict=True)
        )
        for key, value in was.items():
            if key not in now:
                return f"; state {key!r} of parameter {place} is not there after loading"
            if isinstance(value, Tensor) and isinstance(now[key], Tensor) and now[key].dtype is not value.dtype:
                return f"; state {key!r} of parameter {place} was {value.dtype} and is {now[key].dtype} after loading"
    return ""


def _load(kept: io.BytesIO) -> Any:
    try:
        return torch.load(kept, weights_only=True)
    except pickle.UnpicklingError as error:
        raise ViolationError(f"torch.load(weights_only=True) refuses its state_dict: {words_of(error)}") from None


def _go_on(case: Case, trial: Trial, other: Trial, when: str, why: str = "") -> None:
    other.done = trial.done
    for step in range(1, case.patience + 1):
        for one in (trial, other):
            torch.manual_seed(step)
            one.step()
        if not all_same(trial.params, other.params):
            raise ViolationError(f"{when}: step {step} differs from that of the uninterrupted run{why}")


def copied(case: Case, world: World) -> str | None:
    """A deep copy and a pickled optimizer go on like the original and leave it alone."""
    trial = case.trial(world)
    trial.steps(world.steps + case.patience - 2)
    before = copies(trial.params)
    other = _copy(trial, world)
    try:
        other.step()
    except Exception as error:
        raise ViolationError(f"{world.choice}: the copy crashed in its first step with {words_of(error)}") from error
    if not all_same(trial.params, before):
        raise ViolationError(f"{world.choice}: a step of the copy moved the parameters of the original")
    _check_again(case, world, trial)
    return None


def _check_again(case: Case, world: World, trial: Trial) -> None:
    _go_on(case, trial, _copy(trial, world), world.choice)


def _copy(trial: Trial, world: World) -> Trial:
    for param in trial.params:
        param.grad = None  # one with a graph cannot be copied
    pair = trial.params, trial.optimizer
    params, optimizer = copy.deepcopy(pair) if world.choice == "deepcopy" else _pickled(pair)
    other = copy.copy(trial)
    other.params, other.optimizer, other.given = list(params), optimizer, []
    return other


class _Pickler(pickle.Pickler):
    """Classes that cannot be found by name (those of a test function) travel by hand."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.carried: list[type] = []

    def persistent_id(self, obj: object) -> int | None:
        if not isinstance(obj, type) or _findable(obj):
            return None
        self.carried.append(obj)
        return len(self.carried) - 1


def _findable(cls: type) -> bool:
    try:
        return pickle.loads(pickle.dumps(cls)) is cls  # noqa: S301  # pickled here
    except Exception:  # noqa: BLE001  # whatever it is, it cannot be found
        return False


class _Unpickler(pickle.Unpickler):
    carried: Sequence[type] = ()

    def persistent_load(self, pid: int) -> type:
        return self.carried[pid]


def _pickled(pair: tuple[list[Tensor], Any]) -> Any:
    file = io.BytesIO()
    pickler = _Pickler(file)
    try:
        pickler.dump(pair)
    except Exception as error:
        raise ViolationError(f"pickle: it cannot be pickled: {words_of(error)}") from error
    file.seek(0)
    unpickler = _Unpickler(file)
    unpickler.carried = pickler.carried
    return unpickler.load()


def added_group(case: Case, world: World) -> str | None:
    """Parameters of a group that is added between steps are trained, and the old ones still are."""
    trial = case.trial(world)
    trial.steps(world.steps)
    added = values(case.shapes[0], world.seed, 55).requires_grad_()
    own: dict[str, float] = {}
    if world.choice == "with its own lr" and case.no_lr is None and case.lr is not None:
        own["lr"] = case.lr * _CHANGED_BY
    trial.optimizer.add_param_group({"params": [added], **own})
    trial.params.append(added)
    _check_lr(trial, own)
    _moves_on(case, trial)
    _check_defaults(case, trial, own)
    return None


def _moves_on(case: Case, trial: Trial) -> None:
    try:
        moves(trial, case.patience)
    except ViolationError:
        # what a projection holds at its bound must go the other way
        moves(trial, case.patience, lambda step, place, param: -trial.ordinary(step, place, param))


def _check_defaults(case: Case, trial: Trial, own: dict[str, float]) -> None:
    """Compare with the same group given to the constructor: a wrapper has defaults that no group ever had."""
    found = trial.optimizer.param_groups
    defaults = set(getattr(trial.optimizer, "defaults", ())) - set(found[-1])
    if len(found) == 1 or not defaults:
        return
    old, new = [
        {"params": [one.requires_grad_() for one in copies(of)]} for of in (trial.params[:-1], trial.params[-1:])
    ]
    groups: list[dict[str, Any]] = [old, {**new, **own}]
    twin = case.subject.build(groups)
    lacking = sorted(str(key) for key in defaults & set(twin.param_groups[-1]))
    if lacking:
        raise ViolationError(
            f"the added group has no {', '.join(lacking)}, as it has when it is given to the constructor"
        )


def _check_lr(trial: Trial, own: dict[str, float]) -> None:
    groups = trial.optimizer.param_groups
    if len(groups) > 1 and own and lr_of(trial.optimizer, -1) != own["lr"]:
        raise ViolationError(f"a group was added with lr {own['lr']:g} and has {lr_of(trial.optimizer, -1)}")


def reproducible(case: Case, world: World) -> str | None:
    """Two runs from the same seed of torch are the same to the bit."""
    count = case.patience + world.steps
    stream = random.getstate()
    one, other = (case.trial(world).steps(count) for _ in range(2))
    for place, (first, second) in enumerate(zip(one, other, strict=True)):
        if not same(first, second):
            drawn = "" if random.getstate() == stream else "; it draws from Python's random, which that does not seed"
            raise ViolationError(
                f"parameter {place} differs between two runs of {count} steps after the same torch.manual_seed{drawn}"
            )
    return None


def no_growth(case: Case, world: World) -> str | None:
    """What it keeps stops growing after some number of steps."""
    trial = case.trial(world)
    sizes: list[tuple[int, int]] = []
    for pause in (10 + case.patience, 10, 10, 90, 15, 15, 400, 30, 30):
        trial.steps(pause)
        sizes.append(size_of(trial.optimizer, trial.params))
        last = sizes[-3:]
        if len(sizes) % 3 == 0 and not (last[0] < last[1] < last[2]):
            return None if len(sizes) == 3 else f"what it keeps stopped growing by step {trial.done}"  # noqa: PLR2004
    (tensors, things), (more_tensors, more_things) = sizes[-2:]
    grown = f"{more_tensors - tensors} elements of tensors and {more_things - things} other values"
    raise ViolationError(f"what it keeps still grows after {trial.done} steps: by {grown} in the last 30")


PROPERTIES = (
    Property(name="add-param-group", judge=added_group, choices=("with the defaults", "with its own lr"), examples=3),
    Property(name="reproducible", judge=reproducible, examples=6),
    Property(name="no-memory-growth", judge=no_growth, steps=ONE, sizes=ONE, examples=1),
    Property(name="state-dict-round-trip", judge=round_trip, examples=8),
    Property(name="deepcopy-and-pickle", judge=copied, choices=("deepcopy", "pickle"), examples=4),
)
