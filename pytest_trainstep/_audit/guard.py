"""Nothing that goes wrong inside the audit may reach a test: it becomes a note in the report."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


class Notes:
    """What went wrong, each thing once and not too many."""

    LIMIT = 20

    def __init__(self) -> None:
        self.said: dict[str, int] = {}

    def add(self, text: str) -> None:
        """Take one note, or count it if it is known."""
        if text in self.said or len(self.said) < self.LIMIT:
            self.said[text] = self.said.get(text, 0) + 1

    def drain(self) -> list[str]:
        """Return the notes since the last time."""
        notes = list(self.said)
        self.said.clear()
        return notes

    @contextlib.contextmanager
    def guard(self, where: str) -> Iterator[None]:
        """Turn an exception of the body into a note."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - catching everything is what it is for
            self.add(f"internal: {where}: {type(error).__name__}: {error}")
