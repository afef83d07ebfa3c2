"""What a check can answer: nothing wrong, a violation, or a refusal in the optimizer's own words."""

from __future__ import annotations

import dis
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

if TYPE_CHECKING:
    from types import TracebackType

Verdict = Literal["passed", "failed", "declined", "skipped", "not judged"]

_LONGEST = 160
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
# A slip of the code, not an answer: these are crashes even where somebody raises them by hand.
_SLIPS = (LookupError, AttributeError, ArithmeticError, NameError, StopIteration, ImportError)
_TORCH = Path(torch.__file__).parent
_PYTHON = Path(dis.__file__).parent  # nor does the standard library
_BASE_CLASS = _TORCH / "optim" / "optimizer.py"


class ViolationError(Exception):
    """A property does not hold; the message says what was seen."""


class RefusalError(Exception):
    """The optimizer says that it does not do this; the message is what it says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one property.

    Attributes:
        name: The property.
        verdict: ``passed``, ``failed``, ``declined`` (refused, with the optimizer's own words), ``skipped`` (declared
            away by the user) or ``not judged`` (no such switch, or hidden by another failure).
        text: What was seen, said or declared.
        example: The smallest example, for a failure and a refusal.
        seconds: How long it took.
    """

    name: str
    verdict: Verdict
    text: str = ""
    example: str = ""
    seconds: float = 0.0


def words_of(error: BaseException) -> str:
    """Write an error in one line: its class and its first words."""
    text = " ".join(_COLOURS.sub("", str(error)).split())
    text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
    return f"{type(error).__name__}: {text}"


def refuses(error: Exception, arithmetic: str = "") -> bool:
    """Tell a refusal in words from a crash.

    A refusal is raised by a `raise` (or an `assert` with words) in code of the optimizer. An error that torch's
    kernels raise counts too where it names what they cannot do (`arithmetic` is a pattern: "not implemented for").
    """
    if isinstance(error, _SLIPS) or not str(error).strip():
        return False
    if arithmetic and re.search(arithmetic, str(error), re.IGNORECASE):
        return True
    return _raised_by_hand(error.__traceback__)


def _raised_by_hand(traceback: TracebackType | None) -> bool:
    if traceback is None:
        return False
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    code = traceback.tb_frame.f_code
    where = Path(code.co_filename)
    # torch's own Python code raises for misuse ("len() of a 0-d tensor"); only its optimizers refuse.
    if (
        str(where).startswith("<frozen")
        or where.parent == _PYTHON
        or where == _BASE_CLASS
        or (_TORCH in where.parents and where.parent != _BASE_CLASS.parent)
    ):
        return False
    return dis.opname[code.co_code[traceback.tb_lasti]] == "RAISE_VARARGS"
