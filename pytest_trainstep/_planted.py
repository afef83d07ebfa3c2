"""The words of planted faults: how each test fared with each. Plain values; JSON both ways."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ._faults import FAULTS, SCORED

KILLED, SURVIVED, NOT_APPLICABLE, NOT_REPEATABLE = "killed", "survived", "not applicable", "not repeatable"
"""How a test fares with a fault: it fails, it passes; the fault changed nothing in it; it fails without a fault too."""


@dataclass(slots=True, kw_only=True)
class Cell:
    """One test with one fault.

    Attributes:
        verdict: One of the four words above.
        how: The last line of the failure that killed it, or why there is no verdict.
    """

    verdict: str
    how: str = ""


@dataclass(slots=True, kw_only=True)
class Place:
    """Where a test trains, in the words of its own code.

    Attributes:
        at: `file:line` of the statement of the test (or its fixture) in which the optimizer stepped.
        fixture: The fixture that trains, or empty: the test itself does.
        model: What the model is called there, or None.
        call: The source of the call that trains, if it is a statement of its own; or None: the step stands in the open.
    """

    at: str = ""
    fixture: str = ""
    model: str | None = None
    call: str | None = None


@dataclass(slots=True, kw_only=True)
class Planted:
    """One test that trains, and how it fared with each fault.

    Attributes:
        id: Its node id.
        at: `file:line` of the test.
        steps: Optimizer steps of the run without a fault.
        seconds: How long all its runs in the second pass took.
        place: Where it trains.
        cells: One for each fault that was planted.
    """

    id: str
    at: str = ""
    steps: int = 0
    seconds: float = 0.0
    place: Place = field(default_factory=Place)
    cells: dict[str, Cell] = field(default_factory=dict)

    def survived(self, faults: Iterable[str] = tuple(FAULTS)) -> list[str]:
        """Return those of the faults that it did not notice."""
        return [fault for fault in faults if fault in self.cells and self.cells[fault].verdict == SURVIVED]

    def to_json(self) -> dict[str, Any]:
        """Return plain dictionaries."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Planted:
        """Rebuild what `to_json` returned."""
        cells = {fault: Cell(**cell) for fault, cell in data["cells"].items()}
        return cls(**{**data, "place": Place(**data["place"]), "cells": cells})


@dataclass(slots=True, kw_only=True)
class Plantings:
    """The second pass of a whole session.

    Attributes:
        faults: Those that were planted, in order.
        scored: Those of them that make the score; the others are information.
        tests: The tests that train, by id.
        left_out: The tests that train and have no second pass because their marker says so, with its reason.
        already_failing: How many tests train and failed, were skipped or are expected to fail without any fault.
        notes: What could not be done, and why.
        seconds: How long the second pass took.
        fail_under: The smallest score that was asked for, in percent.
    """

    faults: tuple[str, ...] = tuple(FAULTS)
    scored: tuple[str, ...] = SCORED
    tests: list[Planted] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    already_failing: int = 0
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    fail_under: float | None = None

    def note(self, text: str) -> None:
        """Take one note, once."""
        if text not in self.notes:
            self.notes.append(text)

    def dumps(self) -> str:
        """Return one line of JSON, for `loads` only."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def loads(cls, line: str) -> Plantings:
        """Undo `dumps`."""
        data = json.loads(line)
        tests = [Planted.from_json(test) for test in data["tests"]]
        return cls(**{**data, "tests": tests, "faults": tuple(data["faults"]), "scored": tuple(data["scored"])})

    def count(self, verdict: str, faults: Iterable[str] | None = None) -> int:
        """Count the cells with this verdict, of these faults or of all."""
        chosen = set(self.faults if faults is None else faults)
        return sum(
            cell.verdict == verdict for test in self.tests for fault, cell in test.cells.items() if fault in chosen
        )

    @property
    def score(self) -> float | None:
        """Return the share of the scored faults that the tests noticed, in percent; None where none was planted."""
        killed, survived = self.count(KILLED, self.scored), self.count(SURVIVED, self.scored)
        return None if not killed + survived else 100 * killed / (killed + survived)

    @property
    def survivors(self) -> list[Planted]:
        """The tests that stayed green with a fault; those with a scored one first."""
        found = [test for test in self.tests if test.survived()]
        return sorted(found, key=lambda test: (-len(test.survived(self.scored)), test.id))

    @property
    def enough(self) -> bool:
        """Tell whether the score reaches what was asked for; no score at all does not."""
        return self.fail_under is None or (self.score is not None and self.score >= self.fail_under)
