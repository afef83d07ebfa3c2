"""Where torch is attached to: optimizer steps, backward passes, gradient scalers.

Everything is attached when the first watcher begins and detached when the last one ends. Each
callback is guarded: whatever goes wrong in here becomes a note of the record, never an exception
in the user's test.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from . import engine

_lock = threading.RLock()
_watchers: tuple[Watcher, ...] = ()
_overhearing: tuple[Watcher, ...] = ()  # these hear every event, whoever else does
_undo: list[Callable[[], None]] = []
_local = threading.local()


class Watcher(Protocol):
    """What a watcher must answer to."""

    notes: list[str]

    def before_step(self, optimizer: Any, /, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """An optimizer's `step` was entered."""

    def after_step(self, optimizer: Any, /) -> None:
        """An optimizer's `step` has returned."""

    def step_skipped(self, optimizer: Any, /, *, reported: bool) -> None:
        """A gradient scaler left out the step of this optimizer; a fused one reports it all the same."""

    def before_backward(self, roots: Sequence[Any]) -> object:
        """A backward pass that accumulates into `.grad` is about to run."""

    def after_backward(self, token: object, error: BaseException | None) -> None:
        """It has ended, perhaps by an exception."""

    def differentiated(self, inputs: Sequence[Any]) -> None:
        """`torch.autograd.grad` or `torch.func.grad` was asked for the gradients of these."""


def attach(watcher: Watcher) -> None:
    """Let `watcher` hear every event from now on."""
    global _watchers  # noqa: PLW0603 - the one list of listeners, replaced whole
    with _lock:
        _connect_once()
        _watchers = (*_watchers, watcher)
    _own().append(watcher)


def overhear(watcher: Watcher) -> None:
    """Let `watcher` hear every event of every thread, also those that belong to a watch of the user's."""
    global _overhearing  # noqa: PLW0603 - see attach
    with _lock:
        _connect_once()
        _overhearing = (*_overhearing, watcher)


def detach(watcher: Watcher) -> None:
    """Let `watcher` go; the last one to go takes every hook and patch along."""
    global _watchers, _overhearing  # noqa: PLW0603 - see attach
    own = _own()
    if watcher in own:
        own.remove(watcher)
    with _lock:
        _watchers = tuple(other for other in _watchers if other is not watcher)
        _overhearing = tuple(other for other in _overhearing if other is not watcher)
        if not _watchers and not _overhearing:
            while _undo:
                _undo.pop()()


def _own() -> list[Watcher]:
    stack: list[Watcher] | None = getattr(_local, "stack", None)
    if stack is None:
        stack = _local.stack = []
    return stack


def _listeners() -> Sequence[Watcher]:
    """An event belongs to the watches of its thread; a thread without any serves all of them."""
    if getattr(_local, "muted", False):
        return ()
    mine = getattr(_local, "stack", None) or _watchers
    return (*mine, *_overhearing) if _overhearing else mine


@contextmanager
def muted() -> Iterator[None]:
    """Let what this thread does now (a replay of our own) go unheard."""
    before, _local.muted = getattr(_local, "muted", False), True
    try:
        yield
    finally:
        _local.muted = before


def _tell(method: str, *args: Any, **kwargs: Any) -> list[tuple[Watcher, object]]:
    answers: list[tuple[Watcher, object]] = []
    for watcher in tuple(_listeners()):
        try:
            answers.append((watcher, getattr(watcher, method)(*args, **kwargs)))
        except Exception as error:  # noqa: BLE001 - a watcher's fault must not reach the user's test
            watcher.notes.append(f"internal: {method}: {type(error).__name__}: {error}")
    return answers


def closure_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return the closure that a step was given, None without one."""
    return kwargs.get("closure", args[1] if len(args) > 1 else None)


def _connect_once() -> None:
    if not _watchers and not _overhearing:
        _connect()


def _connect() -> None:
    _connect_steps()
    _undo.append(engine.intercept(_passed))
    _connect_scaler()


def _connect_steps() -> None:
    from torch.optim import optimizer as module

    def entered(optimizer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        _local.stepped = id(optimizer)
        _tell("before_step", optimizer, args, kwargs)

    before = engine.uncompiled(entered)
    after = engine.uncompiled(lambda optimizer, args, kwargs: _first(_tell("after_step", optimizer)))  # noqa: ARG005 - torch's signature
    _undo.append(module.register_optimizer_step_pre_hook(before).remove)
    _undo.append(module.register_optimizer_step_post_hook(after).remove)


def _first(_: object) -> None:
    """Hooks must return None: what they return replaces the arguments of the step."""


def _passed(roots: Any, run: Callable[[Any], Any], /, *, accumulates: bool, inputs: Any) -> Any:
    """See `engine.Handler`."""
    if accumulates:
        return _around(roots, run)
    if inputs is not None:
        _tell("differentiated", inputs)
    return run(roots)


def _around(roots: Any, run: Callable[[Any], Any]) -> Any:
    tokens = _tell("before_backward", roots)
    raised: BaseException | None = None
    try:
        return run(roots)
    except BaseException as error:
        raised = error
        raise
    finally:
        for watcher, token in tokens:
            try:
                watcher.after_backward(token, raised)
            except Exception as error:  # noqa: BLE001 - as in _tell
                watcher.notes.append(f"internal: after_backward: {type(error).__name__}: {error}")
        del raised  # a frame that holds its own exception keeps everything alive


def _connect_scaler() -> None:
    import torch

    scaler: Any = getattr(torch.amp, "GradScaler", None)
    if scaler is None:
        return
    original = scaler.step

    @functools.wraps(original)
    def step(self: Any, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        _local.stepped = None
        result = original(self, optimizer, *args, **kwargs)
        if found_inf(self, optimizer):
            _tell("step_skipped", optimizer, reported=_local.stepped == id(optimizer))
        return result

    _undo.append(engine.swap(scaler, "step", step))


def found_inf(scaler: Any, optimizer: Any) -> bool:
    """Tell whether `scaler` has just refused the step of `optimizer`; False where it cannot say."""
    try:
        states = scaler._per_optimizer_states[id(optimizer)]["found_inf_per_device"]  # noqa: SLF001
        return bool(scaler.is_enabled()) and any(bool(flag.item()) for flag in states.values())
    except (AttributeError, KeyError, TypeError):
        return False
