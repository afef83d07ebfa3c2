"""Trainings that parted from their recordings: both curves of every quantity, the step marked where they part."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pytest_trainstep._diagnose.because import plural
from pytest_trainstep._diagnose.sparkline import sparkline

from .svg import BOTTOM, RIGHT, TOP, WIDTH
from .text import cell

if TYPE_CHECKING:
    from pytest_trainstep._recording.comparing import Parted

_LEFT, _HEIGHT = 80, 170
_TITLES = {
    "lr": "learning rate",
    "loss": "loss",
    "gradient": "norm of the gradient",
    "update": "norm of the update",
    "size": "norm of the weights",
}
_STYLE = (
    "#recordings svg .recorded{fill:none;stroke:var(--soft);stroke-width:4;stroke-opacity:.55}"
    "#recordings svg .now{fill:none;stroke:var(--accent);stroke-width:1.5}"
    "#recordings svg .ring{fill:none;stroke:var(--soft);stroke-opacity:.55;stroke-width:3}"
    "#recordings svg .parting{stroke:var(--bad);stroke-dasharray:4 3}#recordings svg .here{fill:var(--bad)}"
)


def data(found: Sequence[Parted]) -> list[dict[str, Any]]:
    """Return the partings as plain values, for the JSON report."""
    return [{**one} for one in found]


def markdown(found: Sequence[Parted]) -> Iterator[str]:
    """Write one row for each parting, and its curves as text; nothing where none parted."""
    if not found:
        return
    yield f"\n## Recordings\n\n{_headline(found)}\n\n"
    yield "| recording | cause | step | what | because |\n|---|---|---|---|---|\n"
    for one in found:
        cells = (f"`{one['recording']}`", one["cause"], str(one["step"]), one["claim"], one["because"])
        yield f"| {' | '.join(map(cell, cells))} |\n"
    for one in found:
        yield f"\n`{cell(one['recording'])}`\n\n```\n"
        for key, curves in one["curves"].items():
            old, new = ([_number(value) for value in curves[which]] for which in ("recorded", "now"))
            yield f"{key:9} recorded  {sparkline(old, beside=new)}\n"
            yield f"{key:9} now       {sparkline(new, beside=old)}\n"
        yield "```\n"


def section(found: Sequence[Parted]) -> str:
    """Return the section of the page: a picture for each quantity of each parting."""
    key = "Thick and grey: as recorded; thin: this run; dashed: where they part."
    parts = [
        f"<style>{_STYLE}</style>",
        '<section id="recordings" aria-labelledby="recordings-title">',
        f'<h2 id="recordings-title">Recordings</h2><p class="lead">{_headline(found)} {key}</p>',
    ]
    for one in found:
        notes = "".join(f"<br>note: {html.escape(note)}" for note in one["notes"])
        parts.append(
            f'<div class="finding"><p><code>{html.escape(one["recording"])}</code></p>'
            f"<p><strong>{html.escape(one['cause'])}</strong>: {html.escape(one['claim'])}"
            f"<br>because: {html.escape(one['because'])}{notes}</p></div>"
        )
        parts += [picture(one, quantity) for quantity in one["curves"]]
    return "".join((*parts, "</section>\n"))


def _headline(found: Sequence[Parted]) -> str:
    return f"{plural(len(found), 'training')} parted from what was recorded."


def picture(one: Parted, quantity: str) -> str:
    """Draw both curves of one quantity; empty where neither has a number."""
    curves = {which: [_number(value) for value in one["curves"][quantity][which]] for which in ("recorded", "now")}
    known = [value for curve in curves.values() for value in curve if math.isfinite(value)]
    if not known:
        return ""
    frame = _Frame(min(known), max(known), max(map(len, curves.values())))
    parts = [*frame.axis(), *frame.mark(one["step"], here=quantity == one["quantity"])]
    for which, curve in curves.items():
        parts += frame.line(which, curve)
    title = _TITLES[quantity] + (" (here they part)" if quantity == one["quantity"] else "")
    return (
        f'<figure><figcaption>{title}</figcaption><svg role="img" aria-label="{title}" '
        f'viewBox="0 0 {WIDTH} {_HEIGHT}">{"".join(parts)}</svg></figure>'
    )


class _Frame:
    """Where the numbers of a picture stand in it."""

    def __init__(self, low: float, high: float, steps: int) -> None:
        self.low, self.high, self.steps = low, high, steps

    def at(self, step: int, value: float) -> tuple[float, float]:
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return self.across(step), TOP + (_HEIGHT - TOP - BOTTOM) * (1 - share)

    def across(self, step: int) -> float:
        return _LEFT + (WIDTH - RIGHT - _LEFT) * ((step - 1) / (self.steps - 1) if self.steps > 1 else 0.5)

    def axis(self) -> Iterator[str]:
        ends = (self.low, self.high) if self.high > self.low else (self.low,)
        for value in ends:
            y = self.at(1, value)[1]
            yield f'<text class="axis" x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:.6g}</text>'
        yield f'<text class="axis" x="{_LEFT}" y="{_HEIGHT - 8}">step 1</text>'
        yield f'<text class="axis" x="{WIDTH - RIGHT}" y="{_HEIGHT - 8}" text-anchor="end">{self.steps}</text>'

    def mark(self, step: int, *, here: bool) -> Iterator[str]:
        if step == 0:
            return
        x = self.across(min(step, self.steps))
        yield f'<line class="parting" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 8}" y2="{_HEIGHT - BOTTOM + 6}"/>'
        anchor = "start" if x < WIDTH / 2 else "end"
        css = "here" if here else "axis"
        yield f'<text class="{css}" x="{x:.1f}" y="{TOP - 12}" text-anchor="{anchor}">step {step}</text>'

    def line(self, which: str, curve: Sequence[float]) -> Iterator[str]:
        """A polyline, broken where a value is not finite; a lone value is a dot."""
        pieces: list[list[tuple[float, float]]] = [[]]
        for step, value in enumerate(curve, start=1):
            if math.isfinite(value):
                pieces[-1].append(self.at(step, value))
            elif pieces[-1]:
                pieces.append([])
        for piece in pieces:
            if len(piece) == 1:
                (x, y), css = piece[0], "ring" if which == "recorded" else "dot"
                yield f'<circle class="{css}" cx="{x:.1f}" cy="{y:.1f}" r="{6 if which == "recorded" else 3}"/>'
            elif piece:
                points = " ".join(f"{x:.1f},{y:.1f}" for x, y in piece)
                yield f'<polyline class="{which}" points="{points}"/>'


def _number(value: float | str | None) -> float:
    return math.nan if value is None else float(value)
