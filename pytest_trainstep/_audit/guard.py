"""Nothing that goes wrong inside the audit may reach a test: it becomes a note in the report."""

from __future__ import annotations

from types import TracebackType


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

    def guard(self, where: str) -> _Guard:
        """Turn an exception of the body into a note."""
        return _Guard(self, where)


class _Guard:
    """A class: a generator for each of the hooks around a test takes as long as what they do."""

    __slots__ = ("_notes", "_where")

    def __init__(self, notes: Notes, where: str) -> None:
        self._notes, self._where = notes, where

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        self._notes.add(f"internal: {self._where}: {type(error).__name__}: {error}")
        return True
