"""The page: text, JSON, Markdown and HTML. Views of what was heard and found; never a tensor."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from .summary import Run as Run  # noqa: TC001 - handed on
from .summary import Summary as Summary
from .summary import summarise as summarise
from .summary import verdicts as verdicts

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_trainstep._heard import Subject


def write(path: Path, run: Run, subjects: Iterable[Subject]) -> None:
    """Write the report that the name of the file asks for, whole or not at all.

    Args:
        path: Ends in `.json`, `.md` or `.html`.
        run: What is known of the session.
        subjects: Everything that was heard; it is gone through several times.
    """
    from . import data, markdown, page

    pieces = {".json": data.pieces, ".md": markdown.pieces, ".html": page.pieces}[path.suffix]
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.part")
    with unfinished.open("w", encoding="utf-8") as file:
        for piece in pieces(run, subjects):
            file.write(piece)
    unfinished.replace(path)
