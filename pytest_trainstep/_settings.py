"""The wishes in force: what the marker, the command line, the environment and the ini file ask for, in plain values."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator


class Settings(NamedTuple):  # not a dataclass, which every start of pytest would pay for
    """What was asked for outside the call; an explicit argument of an assertion always wins over it."""

    steps: int | None = None
    """How often ``step_fn`` runs when the call does not say so."""
    only: tuple[str, ...] | None = None
    """The patterns that are judged when the call names none; from the marker."""
    frozen: tuple[str, ...] = ()
    """The patterns that the marker excuses; one that matches nothing is an error."""
    ini_frozen: tuple[str, ...] = ()
    """The patterns that the ini file excuses for a whole suite; these may match nothing."""
    min_update: float | None = None
    """The smallest update ratio that counts as an update."""
    seed: int | None = None
    """The seed that was asked for; None leaves every random stream alone."""
    device: str | None = None
    """The first device that was asked for, by name."""
    audit: str | None = None
    """`off`: the marker excuses the test from the audit."""
    mutate: str | None = None
    """`off`: the marker leaves the test out of the second pass."""
    reason: str | None = None
    """Why it does."""


# A plain module-level value and not a ContextVar: threads that a test starts must see the settings of that test.
_current = Settings()


def current() -> Settings:
    """Return the settings of the test that is running, or the defaults outside of any."""
    return _current


@contextlib.contextmanager
def using(settings: Settings) -> Iterator[Settings]:
    """Put ``settings`` in force for the body, then put back what stood there before."""
    global _current  # noqa: PLW0603 (see the comment above `_current`)
    before, _current = _current, settings
    try:
        yield settings
    finally:
        _current = before
