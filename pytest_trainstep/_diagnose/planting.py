"""What to add to a test that stayed green with a planted fault, in the test's own words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_trainstep._faults import FAULTS
from pytest_trainstep._planted import KILLED, NOT_APPLICABLE, SURVIVED, Place, Planted

from .because import plural
from .finding import Finding, Reason

BLIND = "blind-test"
ON_PURPOSE = 'mark a test that need not notice: @pytest.mark.trainstep(mutate="off", reason="...")'


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """For one test: what it did not notice, and what to add, ready to paste.

    Attributes:
        faults: The faults it stayed green with.
        because: What is wrong with training while the test passes.
        add: One sentence, with the code.
    """

    faults: tuple[str, ...]
    because: str
    add: str


# Each assertion, and the faults it notices; the first that answers for a fault is the one to add.
_ANSWERS = (
    ("assert_weights_update", ("noop-step", "noop-backward", "zero-lr", "partial-step", "detached-loss")),
    ("assert_gradients_fresh", ("stale-gradients",)),
    ("assert_loss_falls", ("flipped-gradient",)),
)
_MORE = {"assert_loss_falls": ", steps=20, by=0.1"}


def advice(test: Planted, faults: Sequence[str]) -> list[Advice]:
    """Return what to add so that a test notices those of the faults that it survived; one entry for each assertion."""
    survived = test.survived(faults)
    found = []
    for assertion, answered in _ANSWERS:
        unnoticed = tuple(fault for fault in survived if fault in answered)
        if unnoticed:
            because = "; ".join(FAULTS[fault] for fault in unnoticed)
            found.append(Advice(faults=unnoticed, because=because, add=_add(assertion, test.place)))
    return found


def _add(assertion: str, place: Place) -> str:
    where = f"in fixture {place.fixture} ({place.at})" if place.fixture else f"at {place.at}" if place.at else "there"
    model = place.model or "model"
    if assertion == "assert_loss_falls":  # it needs a loss for each step, which a whole training does not return
        return f"{where}, add {assertion}({model}, {_step(place)}{_MORE[assertion]})"
    if place.call is not None:
        return f"{where}, add {assertion}({model}, {_step(place)})"
    return (
        f"{where}, put `with watch({model}) as watched:` around the training, and watched.{assertion}() below the block"
    )


def _step(place: Place) -> str:
    return "step" if place.call is None else f"lambda: {place.call}"


def undetected(test: Planted, *, msg: str | None) -> Finding:
    """Put the finding together for a test that stayed green with some of the faults."""
    survived = test.survived()
    counted = [cell for cell in test.cells.values() if cell.verdict != NOT_APPLICABLE]
    reasons = tuple(
        Reason(cause=BLIND, because=f"{test.id} passes although {one.because}.", fix=f"{one.add}.")
        for one in advice(test, survived)
    )
    shown = sorted(test.cells, key=lambda fault: (SURVIVED, KILLED, NOT_APPLICABLE).index(test.cells[fault].verdict))
    return Finding(
        claim=f"{test.id} stayed green with {len(survived)} of {plural(len(counted), 'planted fault')}",
        causes=(BLIND,),
        reasons=reasons,
        columns=("planted fault", "the test", "how"),
        rows=tuple((fault, test.cells[fault].verdict, _first_line(test.cells[fault].how)) for fault in shown),
        on_purpose=f"pass faults=[...] without {', '.join(survived)}",
        msg=msg,
    )


def _first_line(text: str) -> str:
    return text.splitlines()[0] if text else "-"
