"""What differs from process to process, made to differ or held still: clocks, entropy, addresses, memory."""

from __future__ import annotations

import builtins
import datetime as dt
import itertools
import random
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import nn

_CLOCKS = ("time", "perf_counter", "monotonic")
NOW, AHEAD, STILL, STILL_AHEAD = range(4)  # how the clock goes in a trial
_DAY = 86_400.0
_START, _LATER = 1e9, 90_123.456789  # another day, hour, minute, second and microsecond
_SMALL, _LARGE = range(1, 65, 4), (128, 512, 2048, 8192, 24_000, 32_000)


@contextmanager
def clock(kind: int) -> Iterator[None]:
    """Replace the functions of `time`, also where a module has imported them by name.

    A clock that stands still ticks a little at each call, the same in every trial; it stands still for
    `datetime` too.
    """
    if kind == NOW:
        yield
        return
    with _swapped({getattr(time, name): new for name, new in _functions(kind)} | _dates(kind), time, dt):
        yield


def _functions(kind: int) -> Iterator[tuple[str, Callable[[], Any]]]:
    for name in _CLOCKS:
        for suffix, unit in (("", 1.0), ("_ns", 1e9)):
            yield name + suffix, _clock(getattr(time, name + suffix), kind, unit)


def _clock(original: Callable[[], Any], kind: int, unit: float) -> Callable[[], Any]:
    number = int if unit > 1 else float
    if kind == AHEAD:
        return lambda: number(original() + _DAY * unit)
    ticks = _ticks(kind)
    return lambda: number(next(ticks) * unit)


def _ticks(kind: int) -> Iterator[float]:
    start, tick = (_START, 1e-3) if kind == STILL else (_START + _LATER, 2e-3)
    return (start + number * tick for number in itertools.count())


def _dates(kind: int) -> dict[Any, Any]:
    """Stand-ins for `datetime` and `date`: they make real dates, and know another now."""
    if kind == AHEAD:
        return {}
    ticks = _ticks(kind)
    return {real: _date_class(real, ticks) for real in (dt.datetime, dt.date)}


def _date_class(real: Any, ticks: Iterator[float]) -> type:
    class Kind(type):
        def __instancecheck__(cls, value: object) -> bool:
            return isinstance(value, real)

        def __subclasscheck__(cls, kind: type) -> bool:
            return issubclass(kind, real)

    def make(_cls: type, *args: Any, **kwargs: Any) -> Any:
        return real(*args, **kwargs)

    def now(_cls: type, tz: Any = None) -> Any:
        return real.fromtimestamp(next(ticks), **({"tz": tz} if tz is not None else {}))

    methods = {"__new__": make, **{name: classmethod(now) for name in ("now", "utcnow", "today")}}
    return Kind(real.__name__, (real,), methods)


@contextmanager
def _swapped(new: dict[Any, Any], *owners: Any) -> Iterator[None]:
    """Put other things into the place of some, in the modules that own them and wherever the user has bound them."""
    swaps: list[tuple[Any, str, Any]] = []
    for module in (*owners, *_user_modules()):
        for key, value in list(vars(module).items()):
            stand_in = next((new[one] for one in new if one is value), None)
            if stand_in is not None:
                swaps.append((module, key, value))
                setattr(module, key, stand_in)
    try:
        yield
    finally:
        for module, key, value in swaps:
            setattr(module, key, value)


def _user_modules() -> list[Any]:
    """The modules that are neither of the standard library nor installed, nor ours."""
    return list({id(module): module for module in list(sys.modules.values()) if _is_users(module)}.values())


def _is_users(module: Any) -> bool:
    path = getattr(module, "__file__", None)
    if path is None or "site-packages" in path or "dist-packages" in path:
        return False
    room = module.__name__.partition(".")[0]
    return room not in sys.stdlib_module_names and room != __name__.partition(".")[0]


class _Thing:
    """An object as users' own classes make them, for its size."""


def stir_memory(number: int) -> None:
    """Leave free memory behind that is in another order, and holds other values, for each number."""
    order, value = random.Random(number), (1 + number % 7) / 8  # noqa: S311 - predictable is what it is for
    made: list[object] = [nn.Parameter(torch.full((), value)) for _ in range(400)]
    made += [make() for make in (nn.Identity, _Thing) for _ in range(200)]
    made += [torch.full((size,), value) for size in (*_SMALL, *_LARGE) for _ in range(12)]
    order.shuffle(made)
    while made:
        made.pop()


@contextmanager
def _system_entropy() -> Iterator[None]:
    """Let the system's entropy (SystemRandom, secrets, numpy's default seeds) come from a fixed stream."""
    import os

    fixed = random.Random(5)  # noqa: S311 - predictable is what it is for
    before = (os.urandom, random._urandom)  # type: ignore[attr-defined]  # noqa: SLF001 - what SystemRandom reads

    def urandom(size: int) -> bytes:
        return fixed.randbytes(size)

    class Generator(torch.Generator):
        def seed(self) -> int:
            self.manual_seed(fixed.getrandbits(32))
            return self.initial_seed()

    os.urandom = random._urandom = urandom  # type: ignore[attr-defined]  # noqa: SLF001
    try:
        with _swapped({torch.Generator: Generator, torch.seed: lambda: torch.manual_seed(5).initial_seed()}, torch):
            yield
    finally:
        os.urandom, random._urandom = before  # type: ignore[attr-defined]  # noqa: SLF001


@contextmanager
def _addresses() -> Iterator[None]:
    """Hash tensors and modules, and answer `id` in the user's modules, by the order of asking."""
    numbers: dict[int, tuple[int, object]] = {}  # the object is held, so that no other one gets its address

    def number(value: object) -> int:
        return numbers.setdefault(id(value), (len(numbers), value))[0]

    before = torch.Tensor.__hash__, nn.Module.__hash__
    mine = [module for module in _user_modules() if "id" not in vars(module)]
    try:
        torch.Tensor.__hash__ = nn.Module.__hash__ = number  # type: ignore[method-assign,assignment]
        for module in mine:
            module.id = number
        yield
    finally:
        torch.Tensor.__hash__, nn.Module.__hash__ = before  # type: ignore[method-assign]
        for module in mine:
            del module.id


@contextmanager
def _deterministic(*, fill: bool) -> Iterator[None]:
    """Use torch's deterministic algorithms, with or without filling what nobody has written to."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    switch: Any = torch.utils.deterministic
    filled = switch.fill_uninitialized_memory
    torch.use_deterministic_algorithms(mode=True, warn_only=True)
    switch.fill_uninitialized_memory = fill
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of each operation that has no deterministic form
            yield
    finally:
        switch.fill_uninitialized_memory = filled
        torch.use_deterministic_algorithms(mode=before[0], warn_only=before[1])


FIXED: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "entropy": _system_entropy,
    "addresses": _addresses,
    "operations": lambda: _deterministic(fill=False),
    "memory": lambda: _deterministic(fill=True),
}


class FilesRead:
    """The files that are opened for reading, among those that somebody has written since a moment."""

    def __init__(self, since: float) -> None:
        self.since = since
        self.found: list[str] = []

    def __enter__(self) -> FilesRead:  # noqa: PYI034 - private, and never subclassed
        import io

        self.opened = builtins.open
        builtins.open = io.open = self._open
        self.began = time.time()
        return self

    def __exit__(self, *_: object) -> None:
        import io

        builtins.open = io.open = self.opened

    def _open(self, file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        opened = self.opened(file, mode, *args, **kwargs)
        if "r" in mode and not isinstance(file, int):
            import os

            if self.since <= os.fstat(opened.fileno()).st_mtime < self.began:
                self.found.append(os.fspath(file))
        return opened
