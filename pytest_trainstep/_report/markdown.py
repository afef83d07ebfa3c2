"""The Markdown report, for the summary of a job in CI."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pytest_trainstep._heard import Subject

from . import mutation, recordings
from .summary import NOT_OBSERVED, Run, summarise
from .text import cell, headline


def pieces(run: Run, subjects: Iterable[Subject]) -> Iterator[str]:
    """Write a headline, a table of the worst findings, and what was not observed."""
    summary = summarise(subjects)
    yield f"## Training audit\n\n{cell(headline(summary))}\n\n"
    if summary.worst:
        yield "| test | cause | where | what | because | fix |\n|---|---|---|---|---|---|\n"
        for found in summary.worst:
            reason = found.verdict.finding.reasons[0]
            mark = "**" if found.verdict.fails else ""
            cells = (
                f"`{found.id}`",
                f"{mark}{', '.join(found.verdict.finding.causes)}{mark}",
                found.verdict.at,
                found.verdict.finding.claim,
                reason.because,
                reason.fix,
            )
            yield f"| {' | '.join(map(cell, cells))} |\n"
        if summary.findings > len(summary.worst):
            yield f"\n... and {summary.findings - len(summary.worst)} more findings.\n"
        yield "\nIn bold: the optimizer never updated anything in that test.\n"
    for name in summary.unneeded:
        yield f"\nThe excuse of `{cell(name)}` no longer applies: nothing was found in it.\n"
    if not run.complete:
        yield f"\nThe run was not complete: {run.ran} of {run.collected} tests ended, {run.lost} with their worker.\n"
    for note in sorted({*run.notes, *summary.notes}):
        yield f"\nNote: {cell(note)}\n"
    yield from recordings.markdown(run.recordings)
    if run.plantings is not None:
        yield from mutation.markdown(run.plantings)
    yield f"\nNot observed: {'; '.join(NOT_OBSERVED)}.\n"
