"""The second pass in words: how many of the planted faults the tests noticed, and what to add to those that did not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pytest_trainstep._diagnose.because import plural
from pytest_trainstep._diagnose.planting import ON_PURPOSE, Advice, advice
from pytest_trainstep._faults import FAULTS
from pytest_trainstep._planted import KILLED, NOT_APPLICABLE, NOT_REPEATABLE, SURVIVED, Planted, Plantings

from . import templates
from .text import ascii_only, cell

VERDICTS = (KILLED, SURVIVED, NOT_APPLICABLE, NOT_REPEATABLE)
_SHOWN = 12
_SIGNS = {KILLED: "&#10003;", SURVIVED: "&#10005;", NOT_APPLICABLE: "&#8211;", NOT_REPEATABLE: "?"}


def lines(found: Plantings, *, verbose: int) -> list[str]:
    """Return the lines of the terminal section; none with `-qq`, where nobody asked for a score."""
    if verbose < -1 and found.enough:
        return []
    entries = _entries(found, found.faults if verbose > 0 else found.scored)
    shown = entries if verbose > 0 else entries[:_SHOWN]
    result = [line for names, told in shown for line in (*_names(names, verbose), *told, "")]
    if len(entries) > len(shown):
        left = sum(len(names) for names, _ in entries[_SHOWN:])
        result += [f"... and {plural(left, 'more test')} (-v shows all)", ""]
    if entries:
        result += [f"on purpose? {ON_PURPOSE}", ""]
    if found.tests:
        result += [*table(found), ""]
    result += [
        *_left_out(found, verbose),
        *_unrepeatable(found, verbose),
        *(f"note: {note}" for note in found.notes),
        headline(found),
    ]
    if not found.enough:
        result.append(f"FAIL: --trainstep-mutate-fail-under={found.fail_under:g} is not reached")
    return [ascii_only(line) for line in result]


def headline(found: Plantings) -> str:
    """One sentence with the score."""
    if not found.tests and found.left_out:
        return f"Every test that passed and trained is left out by its marker.{_already_failing(found)}"
    if not found.tests:
        return f"No test that passed has trained: nothing to plant a fault into.{_already_failing(found)}"
    trained = f"{plural(len(found.tests), 'test')} trained"
    killed, survived = found.count(KILLED, found.scored), found.count(SURVIVED, found.scored)
    if found.score is None:
        return f"{trained}, and none of the scored faults could be planted.{_already_failing(found)}"
    return (
        f"{trained} and noticed {killed} of {plural(killed + survived, 'scored fault')}: {_percent(found.score)}."
        f"{_already_failing(found)}"
    )


def _already_failing(found: Plantings) -> str:
    count = found.already_failing
    return f" {plural(count, 'more test')} trained and did not pass without any fault." if count else ""


def _percent(score: float) -> str:
    return f"{int(score * 10) / 10:g} %"  # never rounded up to a hundred


def _entries(found: Plantings, faults: Sequence[str]) -> list[tuple[list[str], tuple[str, ...]]]:
    """Return the tests that survived, those with one and the same fix (they share a fixture) together, and what is said."""
    entries: dict[tuple[str, ...], list[str]] = {}
    for test in found.survivors:
        told: list[str] = []
        for one in advice(test, faults):
            told += [f"  green with {', '.join(one.faults)}: {one.because}", f"  fix: {one.add}"]
        if told:
            entries.setdefault(tuple(told), []).append(test.id)
    return [(names, told) for told, names in entries.items()]


def _names(names: list[str], verbose: int) -> list[str]:
    if verbose > 0 or len(names) == 1:
        return names
    return [f"{names[0]} and {plural(len(names) - 1, 'more test')}"]


def table(found: Plantings) -> list[str]:
    """Count the verdicts of each fault; those that are not scored stand last."""
    ordered = [*found.scored, *(fault for fault in found.faults if fault not in found.scored)]
    rows: list[tuple[str, ...]] = [("fault", *VERDICTS)]
    for fault in ordered:
        name = fault if fault in found.scored else f"({fault})"
        rows.append((name, *(str(found.count(verdict, [fault])) for verdict in VERDICTS)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]


def _left_out(found: Plantings, verbose: int) -> list[str]:
    if verbose > 0:
        return [f"left out: {name} ({reason})" for name, reason in found.left_out.items()]
    return [f"left out: {plural(len(found.left_out), 'test')} by the marker (-v shows all)"] if found.left_out else []


def _unrepeatable(found: Plantings, verbose: int) -> Iterator[str]:
    tests = [test for test in found.tests if any(cell.verdict == NOT_REPEATABLE for cell in test.cells.values())]
    for test in tests if verbose > 0 else tests[:3]:
        how = next(cell.how for cell in test.cells.values() if cell.verdict == NOT_REPEATABLE)
        yield f"not repeatable: {test.id} ({how})"
    if len(tests) > 3 and verbose <= 0:  # noqa: PLR2004 - as above
        yield f"not repeatable: {len(tests) - 3} more (-v shows all)"


def data(found: Plantings) -> dict[str, Any]:
    """Return the second pass as plain values, for the JSON report."""
    return {
        "faults": {fault: FAULTS[fault] for fault in found.faults},
        "scored": list(found.scored),
        "score": None if found.score is None else round(found.score, 2),
        "fail_under": found.fail_under,
        "duration": round(found.seconds, 3),
        "already_failing": found.already_failing,
        "left_out": found.left_out,
        "notes": found.notes,
        "totals": {fault: {verdict: found.count(verdict, [fault]) for verdict in VERDICTS} for fault in found.faults},
        "tests": [
            {**test.to_json(), "advice": [_advice(one) for one in advice(test, found.faults)]} for test in found.tests
        ],
    }


def _advice(one: Advice) -> dict[str, Any]:
    return {"faults": list(one.faults), "because": one.because, "add": one.add}


def markdown(found: Plantings) -> Iterator[str]:
    """Write a headline, the counts, and the tests that stayed green."""
    yield f"\n## Planted faults\n\n{cell(headline(found))}\n\n"
    if found.tests:
        yield f"| fault | {' | '.join(VERDICTS)} |\n|---|{'---|' * len(VERDICTS)}\n"
        for fault in found.faults:
            mark = "**" if fault in found.scored else ""
            counts = (str(found.count(verdict, [fault])) for verdict in VERDICTS)
            yield f"| {mark}{fault}{mark} | {' | '.join(counts)} |\n"
        yield "\nIn bold: the faults that make the score.\n"
    yield from _markdown_survivors(found)
    yield from (f"\nLeft out: `{cell(name)}` ({cell(reason)})\n" for name, reason in found.left_out.items())
    yield from (f"\nNote: {cell(note)}\n" for note in found.notes)


def _markdown_survivors(found: Plantings) -> Iterator[str]:
    if not found.survivors:
        return
    yield "\n| test | stays green with | fix |\n|---|---|---|\n"
    for test in found.survivors:
        for one in advice(test, found.faults):
            yield f"| `{cell(test.id)}` | {', '.join(one.faults)} | {cell(one.add)} |\n"
    yield f"\nOn purpose? {cell(ON_PURPOSE)}\n"


def html(found: Plantings) -> str:
    """Return the section of the page: a matrix of tests and faults that can be filtered."""
    section = templates.template("mutation.html", zip=zip).render(
        headline=headline(found),
        notes=found.notes,
        left_out=found.left_out,
        on_purpose=ON_PURPOSE if found.survivors else "",
        faults={fault: FAULTS[fault] for fault in found.faults},
        scored=found.scored,
        verdicts=VERDICTS,
        signs=_SIGNS,
        chosen=SURVIVED if found.survivors else "",
        tests=[_row(test, found) for test in sorted(found.tests, key=lambda test: -len(test.survived(found.scored)))],
    )
    style, script = templates.source("mutation.css"), templates.source("mutation.js")
    return f"<style>{style}</style>\n{section}\n<script>{script}</script>\n"


def _row(test: Planted, found: Plantings) -> dict[str, Any]:
    return {
        "id": test.id,
        "at": test.at,
        "steps": test.steps,
        "verdicts": [test.cells[fault].verdict for fault in found.faults],
        "advice": advice(test, found.faults),
        "hows": [(fault, test.cells[fault].how) for fault in found.faults if test.cells[fault].how],
    }
