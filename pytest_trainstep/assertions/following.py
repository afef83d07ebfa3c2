"""Running a step under a session and the scouts that a claim asks for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

from pytest_trainstep._record import StepRecord
from pytest_trainstep._watch import taps
from pytest_trainstep._watch.closing import Closing
from pytest_trainstep._watch.scout import Scout
from pytest_trainstep._watch.session import Session

from . import advice
from .watching import open_session


class Followed(NamedTuple):
    """A step that was run, and what is needed to look closer at it."""

    session: Session
    closing: Closing
    record: StepRecord


def follow(
    model: Any, step_fn: Callable[[], object], steps: int, scouts: Sequence[Callable[[Session], Scout]]
) -> Followed:
    """Call `step_fn` `steps` times, with every scout listening, and close the books."""
    session = open_session(model, None)
    party = [scout(session) for scout in scouts]
    session.begin()
    try:
        with ExitStack() as stack:
            for scout in party:
                scout.compiled = hasattr(step_fn, "_torchdynamo_orig_callable")
                stack.callback(_leave, scout)
                taps.attach(scout)
                with scout.guarded():
                    scout.begin()
            _call(session, step_fn, steps, party)
    except BaseException as error:
        session.stop()
        advice.add_note(error)
        raise
    session.stop()
    closing = Closing(session)
    record = dataclasses.replace(closing.conclude(), followed=tuple(scout.name for scout in party))
    for scout in party:
        record = scout.add_to(record)
    return Followed(session, closing, record)


def _leave(scout: Scout) -> None:
    taps.detach(scout)
    with scout.guarded():
        scout.end()


def _call(session: Session, step_fn: Callable[[], object], steps: int, party: Sequence[Scout]) -> None:
    for call in range(1, steps + 1):
        session.next_call(call)
        with ExitStack() as around:
            for scout in party:
                around.enter_context(scout.around(call))
            value = step_fn()
        for scout in party:
            with scout.guarded():
                scout.after_call(value)
        del value  # a loss would keep its graph alive
        if call < steps:
            session.end_call()
