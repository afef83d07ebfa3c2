"""The HTML report: one file that needs nothing else, written test by test."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pytest_trainstep._diagnose.because import number
from pytest_trainstep._heard import Group, Heard, Subject

from . import mutation, recordings, svg, templates
from .data import finding, header
from .summary import Run, judged, summarise
from .text import headline

PICTURES = 300  # tests without a finding that get one; those with a finding all do


def pieces(run: Run, subjects: Iterable[Subject]) -> Iterator[str]:
    """Fill the template, one row at a time."""
    summary = summarise(subjects)
    yield from templates.template("page.html", lr=_lr).generate(
        head=header(run, summary),
        headline=headline(summary),
        style=templates.source("page.css"),
        script=templates.source("page.js"),
        causes=summary.causes.most_common(),
        rows=_rows(subjects),
        sections=list(_sections(run)),
    )


def _sections(run: Run) -> Iterator[str]:
    """What else was found in this session, besides what the audit heard."""
    if run.recordings:
        yield recordings.section(run.recordings)
    if run.plantings is not None:
        yield mutation.html(run.plantings)


def _rows(subjects: Iterable[Subject]) -> Iterator[dict[str, Any]]:
    drawn = 0
    for subject in subjects:
        found = [finding(verdict) for verdict in judged(subject)]
        drawn += not found
        yield {
            "subject": subject,
            "findings": found,
            "causes": list(dict.fromkeys(cause for one in found for cause in one["causes"])),
            "fails": any(one["fails"] for one in found),
            "noops": sum(one.noop_steps for one in subject.optimizers),
            "pictures": _pictures(subject) if found or drawn <= PICTURES else [],
        }


def _pictures(subject: Subject) -> list[str]:
    drawings = [picture for heard in subject.optimizers[:4] for picture in (svg.ratios(heard), svg.gradients(heard))]
    return [picture for picture in (*drawings, svg.losses(subject.losses)) if picture]


def _lr(thing: Heard | Group) -> str:
    groups = thing.groups if isinstance(thing, Heard) else [thing]
    known = [group.lr for group in groups if group.lr is not None]
    if not known:
        return "-"
    low, high = min(lr[0] for lr in known), max(lr[1] for lr in known)
    return number(low) if low == high else f"{number(low)} to {number(high)}"
