"""How it is called and switched: closures, hooks, and the several ways to compute the same step."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook

from ._property import ONE, Property
from ._tensors import World, all_same, apart, copies, same
from ._verdicts import ViolationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ._case import Case
    from ._trial import Trial

_TOLERANCE = 0.01  # orthogonalization in bfloat16 differs by less from kernel to kernel


def closure(case: Case, world: World) -> str | None:
    """A closure is called with gradients enabled, before the update, and its loss is returned."""
    trial = case.trial(world)
    enabled: list[bool] = []
    losses: list[float] = []
    moved_in: int | None = None
    for step in range(1, case.patience + 1):
        drawn = [trial.ordinary(trial.done, place, one) for place, one in enumerate(trial.params)]
        trial.done += 1
        compute = _recorded(trial, drawn, enabled, losses)
        if case.manner.closure or case.manner.graph:
            compute()  # some of those that need one want gradients beforehand
        enabled.clear()
        losses.clear()
        returned = trial.optimizer.step(compute)
        _check_call(enabled, losses, returned)
        moved = [not same(one, start) for one, start in zip(trial.params, trial.start, strict=True)]
        moved_in = moved_in or (step if all(moved) else None)
    expected = moved_in if case.manner.closure else _moves_without(case, world)
    if moved_in != expected:
        raise ViolationError(f"with a closure the parameters {_when(moved_in)}, without one they {_when(expected)}")
    return None


def _when(step: int | None) -> str:
    return f"moved first in step {step}" if step else "did not move"


def _moves_without(case: Case, world: World) -> int | None:
    trial = case.trial(world)
    for step in range(1, case.patience + 1):
        trial.step()
        if not any(same(one, start) for one, start in zip(trial.params, trial.start, strict=True)):
            return step
    return None


def _recorded(trial: Trial, drawn: list[Tensor], enabled: list[bool], losses: list[float]) -> Any:
    for one in trial.params:
        one.grad = None

    def compute() -> Tensor:
        enabled.append(torch.is_grad_enabled())
        loss = trial.hand_over(drawn)
        losses.append(float(loss))
        return loss

    return compute


def _check_call(enabled: list[bool], losses: list[float], returned: object) -> None:
    if not enabled:
        raise ViolationError("the closure was not called")
    if not all(enabled):
        raise ViolationError("gradients were disabled inside the closure: its backward() would fail")
    if returned is None:
        raise ViolationError("the loss that the closure returned is not returned by step: it returns None")
    if not isinstance(returned, Tensor | float | int) or not any(abs(float(returned) - one) < 1e-6 for one in losses):  # noqa: PLR2004
        raise ViolationError(f"step returns {returned!r:.60}, not the loss of the closure, {losses[0]:.3g}")


def hooks_fire(case: Case, world: World) -> str | None:
    """Hooks before and after the step are called, those of the object and the global ones."""
    trial = case.trial(world)
    if not hasattr(trial.optimizer, "register_step_pre_hook"):
        raise ViolationError("it is no torch.optim.Optimizer: no hook can be registered")
    if not hasattr(trial.optimizer, "_optimizer_step_pre_hooks"):
        raise ViolationError("Optimizer.__init__ was not called: no hook can be registered")
    calls, before = _overheard(trial)
    for name, words in _HOOKS.items():
        if name not in calls:
            raise ViolationError(f"the {words} was not called in a step")
    if not all_same(before, trial.start):
        raise ViolationError("the hook that runs before the step was called after the update")
    return None


def _overheard(trial: Trial) -> tuple[list[str], list[Tensor]]:
    """Do a step; return which hooks were called, and the parameters as the first one saw them."""
    calls: list[str] = []
    seen: list[list[Tensor]] = []

    def before(*_: object) -> None:
        calls.append("pre")
        seen.append(copies(trial.params))

    def after(*_: object) -> None:
        calls.append("post")

    def anywhere(which: object, *_: object) -> None:
        calls.append("global" if which is trial.optimizer else "other")

    handles = [
        trial.optimizer.register_step_pre_hook(before),
        trial.optimizer.register_step_post_hook(after),
        register_optimizer_step_post_hook(anywhere),
    ]
    try:
        trial.step()
    finally:
        for handle in handles:
            handle.remove()
    return calls, seen[0] if seen else trial.start


_HOOKS = {
    "pre": "hook registered by register_step_pre_hook",
    "post": "hook registered by register_step_post_hook",
    "global": "global hook of register_optimizer_step_post_hook",
}


def _agree(case: Case, world: World, first: dict[str, Any], second: dict[str, Any], what: str) -> None:
    results = []
    for overrides in (first, second):
        trial = case.trial(world, **overrides)
        results.append((trial.start, trial.steps(case.patience + world.steps)))
    (start, one), (_, other) = results
    for place, at in enumerate(start):
        if not apart(at, one[place], other[place]) <= _TOLERANCE:
            raise ViolationError(
                f"parameter {place} moves otherwise {what}, by {apart(at, one[place], other[place]):.1%}"
            )


def foreach_agrees(case: Case, world: World) -> str | None:
    """The foreach step and the loop move parameters alike."""
    _agree(case, world, {"foreach": True}, {"foreach": False}, "with foreach=True")
    return None


def fused_agrees(case: Case, world: World) -> str | None:
    """The fused step and the loop move parameters alike."""
    loop = {"fused": False, **({"foreach": False} if case.subject.takes("foreach") else {})}
    _agree(case, world, {"fused": True}, loop, "with fused=True")
    return None


def compiles(case: Case, world: World) -> str | None:
    """A compiled step moves parameters as the plain one does."""
    plain, compiled = case.trial(world), case.trial(world)
    with _quiet_compiler():
        step: Callable[..., object] = torch.compile(compiled.optimizer.step, backend="eager")
        for _ in range(case.patience):
            plain.step()
            arguments = compiled.prepare()
            step(*arguments)
    for place, at in enumerate(plain.start):
        distance = apart(at, plain.params[place], compiled.params[place])
        if not distance <= _TOLERANCE:
            raise ViolationError(f"parameter {place} moves otherwise under torch.compile, by {distance:.1%}")
    return None


@contextmanager
def _quiet_compiler() -> Iterator[None]:
    """Forget what was compiled before, and keep the compiler's records of what it skipped to ourselves."""
    torch.compiler.reset()  # brings the compiler in, and with it the handlers
    names = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] == "torch"]
    handlers = {handler for name in names for handler in logging.getLogger(name).handlers}

    def kept(record: logging.LogRecord) -> bool:
        return record.name.partition(".")[0] != "torch"

    for handler in handlers:
        handler.addFilter(kept)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(kept)


def _lacks(switch: str) -> Any:
    def unless(case: Case) -> str | None:
        return None if case.subject.takes(switch) else f"its constructor has no {switch}= switch"

    return unless


PROPERTIES = (
    Property(name="closure", judge=closure, steps=ONE, examples=6),
    Property(name="hooks-fire", judge=hooks_fire, steps=ONE, examples=3),
    Property(name="foreach-and-loop-agree", judge=foreach_agrees, sizes=(1, 4), examples=12, unless=_lacks("foreach")),
    Property(name="fused-and-loop-agree", judge=fused_agrees, sizes=(1, 4), examples=12, unless=_lacks("fused")),
    Property(name="compiles", judge=compiles, steps=ONE, sizes=(1, 2), examples=2, opt_in=True),
)
