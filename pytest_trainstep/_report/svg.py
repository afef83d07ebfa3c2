"""The pictures, drawn by hand as inline SVG: colours come from the page, shapes tell as much as colours do."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from pytest_trainstep._heard import Curve, Heard

WIDTH, ROW, LEFT, RIGHT, TOP, BOTTOM = 640, 18, 190, 16, 26, 30
LOW, HIGH = -8.0, 0.0  # of the axis of log10 ratios
GUIDE = -3.0
_SHADES = 5
_SHOWN = 24  # rows of a picture


def ratios(heard: Heard) -> str:
    """Draw log10 of update over weight, one row for each parameter; what did not move stands in the gutter."""
    curves = heard.curves[:_SHOWN]
    if not any(curve.points for curve in curves):
        return ""
    many = max(len(curve.points) for curve in curves) > 1
    height = TOP + ROW * len(curves) + BOTTOM
    gutter, begin = LEFT + 14, LEFT + 36
    span = WIDTH - RIGHT - begin

    def across(ratio: float) -> float:
        place = (min(HIGH, max(LOW, math.log10(ratio))) - LOW) / (HIGH - LOW)
        return begin + span * place

    parts = [_axis(across, height, begin)]
    parts.append(f'<text class="axis" x="{gutter}" y="{TOP - 10}" text-anchor="middle">stuck</text>')
    parts.append(f'<rect class="gutter" x="{LEFT + 4}" y="{TOP - 4}" width="20" height="{ROW * len(curves) + 8}"/>')
    for row, curve in enumerate(curves):
        y = TOP + ROW * row + ROW / 2
        parts.append(_label(curve, y))
        parts += _dots(curve, y, gutter, across, many=many)
    hidden = len(heard.curves) - len(curves)
    more = f" ({hidden} more not drawn)" if hidden > 0 else ""
    title = f"log10 of update / weight per parameter, guide at -3{more}"
    return _svg(title, height, parts)


def _dots(curve: Curve, y: float, gutter: float, across: object, *, many: bool) -> list[str]:
    """One dot for one step; for several the span as a line, early steps hollow and the last one full."""
    assert callable(across)
    parts: list[str] = []
    moved = [(step, across(ratio)) for step, ratio, _ in curve.points if ratio is not None and math.isfinite(ratio)]
    if len(moved) > 1:
        low, high = min(x for _, x in moved), max(x for _, x in moved)
        parts.append(f'<line class="span" x1="{low:.1f}" x2="{high:.1f}" y1="{y}" y2="{y}"/>')
    for number, (step, x) in enumerate(moved):
        last = number == len(moved) - 1
        shape = "dot" if last or not many else "dot early"
        parts.append(
            f'<circle class="{shape}" cx="{x:.1f}" cy="{y}" r="{4 if last else 3}"><title>step {step}</title></circle>'
        )
    still = [step for step, ratio, _ in curve.points if ratio is None]
    if still:
        title = f"did not move in step {', '.join(map(str, still))}"
        size = 5 if not moved else 3
        parts.append(
            f'<path class="stuck" d="M{gutter - size} {y - size}l{2 * size} {2 * size}m0 {-2 * size}'
            f'l{-2 * size} {2 * size}"><title>{title}</title></path>'
        )
    return parts


def _axis(across: object, height: float, begin: float) -> str:
    assert callable(across)
    bottom = height - BOTTOM + 4
    parts = []
    for power in range(int(LOW), int(HIGH) + 1, 2):
        x = across(10.0**power)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 4}" y2="{bottom}"/>')
        parts.append(f'<text class="axis" x="{x:.1f}" y="{bottom + 14}" text-anchor="middle">{power}</text>')
    x = across(10.0**GUIDE)
    band = across(1e-2) - across(1e-4)
    parts.insert(
        0, f'<rect class="band" x="{across(1e-4):.1f}" y="{TOP - 4}" width="{band:.1f}" height="{bottom - TOP + 4}"/>'
    )
    parts.append(f'<line class="guide" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 4}" y2="{bottom}"/>')
    parts.append(f'<text class="axis" x="{x:.1f}" y="{TOP - 10}" text-anchor="middle">-3</text>')
    return "".join(parts)


def gradients(heard: Heard) -> str:
    """Draw the RMS of each gradient, first to last parameter, at the last step in the picture; on a log scale."""
    rows = [(curve, curve.points[-1][2]) for curve in heard.curves[:_SHOWN] if curve.points]
    known = [value for _, value in rows if value and math.isfinite(value)]
    if not rows:
        return ""
    top = math.log10(max(known)) if known else 0.0
    height = TOP + ROW * len(rows) + BOTTOM
    begin, span = LEFT + 4, WIDTH - RIGHT - LEFT - 70
    parts = []
    for row, (curve, value) in enumerate(rows):
        y = TOP + ROW * row + ROW / 2
        parts.append(_label(curve, y))
        if value and math.isfinite(value):
            share = max(0.01, 1 + (math.log10(value) - top) / 8)
            parts.append(f'<rect class="bar" x="{begin}" y="{y - 6}" width="{span * share:.1f}" height="12"/>')
            parts.append(f'<text class="axis" x="{begin + span * share + 6:.1f}" y="{y + 4}">{value:.1e}</text>')
        else:
            word = "none" if value is None else "0" if value == 0 else "not finite"
            parts.append(f'<rect class="missing" x="{begin}" y="{y - 6}" width="{span / 4:.1f}" height="12"/>')
            parts.append(f'<text class="axis" x="{begin + span / 4 + 6:.1f}" y="{y + 4}">{word}</text>')
    return _svg("RMS of the gradient by parameter (log scale)", height, parts)


def losses(points: Sequence[tuple[int, float]]) -> str:
    """Draw the values that backward passes began with."""
    finite = [(number, value) for number, value in points if math.isfinite(value)]
    if len(finite) < 2:  # noqa: PLR2004 - one point is no curve
        return ""
    low, high = min(v for _, v in finite), max(v for _, v in finite)
    first, last = finite[0][0], finite[-1][0]
    height, left = 150, 60
    inner = height - TOP - BOTTOM

    def place(number: int, value: float) -> tuple[float, float]:
        x = left + (WIDTH - RIGHT - left) * (number - first) / max(1, last - first)
        y = TOP + inner * (1 - (value - low) / (high - low)) if high > low else TOP + inner / 2
        return x, y

    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in finite))
    ends = [(TOP + 4, high), (height - BOTTOM + 4, low)] if high > low else [(TOP + inner / 2 + 4, high)]
    parts = [f'<text class="axis" x="{left - 6}" y="{y}" text-anchor="end">{value:.3g}</text>' for y, value in ends]
    parts.append(f'<polyline class="curve" points="{line}"/>')
    parts.append(f'<text class="axis" x="{left}" y="{height - 8}">backward pass {first}</text>')
    parts.append(f'<text class="axis" x="{WIDTH - RIGHT}" y="{height - 8}" text-anchor="end">{last}</text>')
    return _svg("loss at each backward pass", height, parts)


def _label(curve: Curve, y: float) -> str:
    shape = "x".join(map(str, curve.shape)) or "1"
    name = curve.name if len(curve.name) <= 22 else f"...{curve.name[-19:]}"  # noqa: PLR2004 - what fits
    return f'<text class="name" x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{_escape(f"{name} {shape}")}</text>'


def _svg(title: str, height: float, parts: Iterable[str]) -> str:
    label = _escape(title)
    return (
        f'<figure><figcaption>{label}</figcaption><svg role="img" aria-label="{label}" viewBox="0 0 {WIDTH} {height}">'
        f"{''.join(parts)}</svg></figure>"
    )


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
