"""What became of the properties as text and as JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._conformance import Conformance
    from ._verdicts import Outcome

CELLS = {"passed": "ok", "failed": "FAIL", "declined": "declined", "skipped": "skipped", "not judged": "-"}
_WIDEST = 118


def table(found: Sequence[Conformance]) -> str:
    """Write properties down and optimizers across, in as many blocks as the width needs."""
    names = list(dict.fromkeys(outcome.name for one in found for outcome in one.outcomes))
    first = max(map(len, ["property", *names]))
    blocks: list[list[Conformance]] = [[]]
    used = first
    for one in found:
        used += _width(one) + 2
        if used > _WIDEST and blocks[-1]:
            blocks.append([])
            used = first + _width(one) + 2
        blocks[-1].append(one)
    return "\n\n".join(_block(block, names, first) for block in blocks if block)


def _width(one: Conformance) -> int:
    return max(len(one.optimizer), len("declined"))


def _block(block: Sequence[Conformance], names: Sequence[str], first: int) -> str:
    lines = ["  ".join(["property".ljust(first), *(one.optimizer.ljust(_width(one)) for one in block)]).rstrip()]
    for name in names:
        cells = [_cell(one, name).ljust(_width(one)) for one in block]
        lines.append("  ".join([name.ljust(first), *cells]).rstrip())
    seconds = [f"{one.seconds:.1f}".ljust(_width(one)) for one in block]
    lines.append("  ".join(["seconds".ljust(first), *seconds]).rstrip())
    return "\n".join(lines)


def _cell(one: Conformance, name: str) -> str:
    found = [outcome for outcome in one.outcomes if outcome.name == name]
    return CELLS[found[0].verdict] if found else ""


def details(one: Conformance, *, every: bool = False) -> str:
    """Write a line for each outcome that has something to say, or for every one."""
    shown = [outcome for outcome in one.outcomes if every or outcome.verdict != "passed" or outcome.text]
    return "\n".join([f"{one.optimizer}: {_tally(one)}", *(_line(outcome) for outcome in shown)])


def _tally(one: Conformance) -> str:
    counts = {verdict: sum(outcome.verdict == verdict for outcome in one.outcomes) for verdict in CELLS}
    return ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)


def _line(outcome: Outcome) -> str:
    text = f": {outcome.text}" if outcome.text else ""
    example = f" [{outcome.example}]" if outcome.verdict == "failed" and outcome.example else ""
    return f"  {outcome.verdict} {outcome.name}{text}{example}".encode("ascii", "backslashreplace").decode()


def as_json(found: Sequence[Conformance]) -> str:
    """Write everything as JSON."""
    written = [
        {
            "optimizer": one.optimizer,
            "seed": one.seed,
            "seconds": round(one.seconds, 3),
            "outcomes": [dataclasses.asdict(outcome) for outcome in one.outcomes],
        }
        for one in found
    ]
    return json.dumps(written, indent=2) + "\n"
