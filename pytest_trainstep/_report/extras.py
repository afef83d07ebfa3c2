"""What pytest-html shows beside a test, where that plugin is there."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from pytest_trainstep._heard import Subject

from . import svg
from .summary import judged


def add(report: pytest.TestReport, heard: Iterable[Subject]) -> None:
    """Add the findings and pictures of one test to its report."""
    from pytest_html import extras  # type: ignore[import-not-found] # by the plugin of that name only

    pieces = []
    for subject in heard:
        pieces += [f"<pre>{_escape(str(verdict.finding))}</pre>" for verdict in judged(subject)]
        pieces += [_styled(picture) for one in subject.optimizers if (picture := svg.ratios(one))]
    known = getattr(report, "extras", [])
    report.extras = [*known, extras.html("\n".join(pieces))]  # type: ignore[attr-defined] # pytest-html reads it


_STYLE = (
    "<style>.trainstep svg{max-width:640px;background:#fff;font:11px sans-serif}.trainstep .grid{stroke:#ddd}"
    ".trainstep .guide{stroke:#0059a8}.trainstep .band{fill:#e6eef6}.trainstep .gutter{fill:none;stroke:#b3400e}"
    ".trainstep .stuck{stroke:#b3400e;stroke-width:2;fill:none}.trainstep .dot{fill:#0059a8}"
    ".trainstep .early{fill:#fff;stroke:#0059a8}.trainstep .span{stroke:#0059a8}</style>"
)


def _styled(picture: str) -> str:
    return f'<div class="trainstep">{_STYLE}{picture}</div>'


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")
