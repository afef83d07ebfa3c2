"""Would the suite notice? Faults planted into its own tests, one at a time. Registered only when asked for."""

from __future__ import annotations

import argparse
from typing import NamedTuple

import pytest

from pytest_trainstep._faults import FAULTS, SCORED

OPTION = "trainstep_mutate"
DEFAULT = "default"


class Asked(NamedTuple):
    """What was asked for."""

    faults: tuple[str, ...]
    """Those to plant, in order."""
    scored: tuple[str, ...]
    """Those that make the score."""
    fail_under: float | None


def _faults(text: str) -> tuple[str, ...]:
    if text == DEFAULT:
        return ()
    named = tuple(dict.fromkeys(text.replace(" ", "").split(",")))
    wrong = next((name for name in named if name not in FAULTS), None)
    if wrong is not None:
        raise argparse.ArgumentTypeError(
            f"{wrong!r} is no fault; valid are {', '.join(FAULTS)} (before a path: --trainstep-mutate={DEFAULT})"
        )
    return named


def _percent(text: str) -> float:
    try:
        percent = float(text)
    except ValueError:
        percent = -1.0
    if not 0 <= percent <= 100:  # noqa: PLR2004 - percent
        raise argparse.ArgumentTypeError(f"{text!r} is no percentage; valid are the numbers from 0 to 100")
    return percent


def declare(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("trainstep", "training-step assertions")
    group.addoption(
        "--trainstep-mutate",
        dest=OPTION,
        nargs="?",
        type=_faults,
        const=(),
        default=None,
        metavar="FAULTS",
        help=(
            "after the suite, run every test that trains again with one fault planted at a time, and report the tests"
            f" that stay green. Scored are {', '.join(SCORED)}, or those named here, separated by commas:"
            f" {', '.join(FAULTS)}"
        ),
    )
    group.addoption(
        "--trainstep-mutate-fail-under",
        dest="trainstep_mutate_fail_under",
        type=_percent,
        default=None,
        metavar="PERCENT",
        help="fail the run if the tests notice less than this share of the scored faults; switches --trainstep-mutate on",
    )


def asked(config: pytest.Config) -> Asked | None:
    """Read what was asked for; None where nothing was."""
    named, fail_under = config.getoption(OPTION), config.getoption("trainstep_mutate_fail_under")
    if named is None and fail_under is None:
        return None
    return Asked(named or tuple(FAULTS), named or SCORED, fail_under)


def register(config: pytest.Config) -> None:
    """Register what planting faults needs, if it was asked for."""
    wanted = asked(config)
    if wanted is None:
        return
    is_worker = hasattr(config, "workerinput")
    if not is_worker:
        from .ledger import Ledger

        config.pluginmanager.register(Ledger(config, wanted), "trainstep-mutation-ledger")
    if is_worker or not config.getoption("tx", None):
        from .passes import Passes

        config.pluginmanager.register(Passes(config, wanted), "trainstep-mutation")
