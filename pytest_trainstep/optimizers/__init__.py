"""A conformance check for optimizers: named properties that every optimizer should have, tried on generated worlds."""

from __future__ import annotations

from ._conformance import (
    Check,
    Conformance,
    check_optimizer,
    examine_optimizer,
    parametrize_with_optimizer_checks,
)
from ._verdicts import Outcome

__all__ = [
    "Check",
    "Conformance",
    "Outcome",
    "check_optimizer",
    "examine_optimizer",
    "parametrize_with_optimizer_checks",
]
