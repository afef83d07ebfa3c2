"""The random streams: where they stand, and who sets them back."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from . import sites

_OTHER_SEED = 1_618_033  # any number will do that nobody is likely to have seeded with


def positions() -> dict[str, Any]:
    """Return where each stream that is in play stands, as values that can be compared."""
    found: dict[str, Any] = {"python": random.getstate(), "torch": tuple(torch.get_rng_state().tolist())}
    numpy = sys.modules.get("numpy.random")  # never imported: then nobody has used its stream
    if numpy is not None:
        name, keys, place, *rest = numpy.get_state()
        found["numpy"] = (name, tuple(keys.tolist()), place, *rest)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        for index, state in enumerate(torch.cuda.get_rng_state_all()):
            found[f"cuda:{index}"] = tuple(state.tolist())
    return found


def set_elsewhere() -> None:
    """Put every stream where nobody expects it; whoever noted the streams before puts them back."""
    random.seed(_OTHER_SEED)
    torch.manual_seed(_OTHER_SEED)
    numpy = sys.modules.get("numpy.random")
    if numpy is not None:
        numpy.seed(_OTHER_SEED)


class Seeding:
    """Which streams were seeded, and which were set back to a state kept before, while this was entered."""

    def __init__(self) -> None:
        self.last: dict[str, tuple[str, str | None]] = {}  # by stream: seeded or set, and where

    def resets(self) -> dict[str, str | None]:
        """Return the streams that were seeded and not set back after that, and where."""
        return {stream: at for stream, (kind, at) in self.last.items() if kind == "seeded"}

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Hear every call that goes through the public names."""
        swapped: list[tuple[Any, str, Any, Any]] = []
        try:
            for owner, name, stream, kind in _functions():
                original = getattr(owner, name)
                ours = self._heard(original, stream, kind)
                setattr(owner, name, ours)
                swapped.append((owner, name, original, ours))
            yield
        finally:
            for owner, name, original, ours in reversed(swapped):
                if getattr(owner, name) is ours:
                    setattr(owner, name, original)

    def _heard(self, original: Callable[..., Any], stream: str, kind: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.last[stream] = (kind, sites.here())
            return original(*args, **kwargs)

        return call


def _functions() -> Iterator[tuple[Any, str, str, str]]:
    for owner in (torch, torch.random):
        yield owner, "manual_seed", "torch", "seeded"
        yield owner, "seed", "torch", "seeded"
        yield owner, "set_rng_state", "torch", "set"
    yield random, "seed", "python", "seeded"
    yield random, "setstate", "python", "set"
    numpy = sys.modules.get("numpy.random")
    if numpy is not None:
        yield numpy, "seed", "numpy", "seeded"
        yield numpy, "set_state", "numpy", "set"
