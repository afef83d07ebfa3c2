"""How far an update is from the one that was wanted: the evidence of two claims, and the finding made of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .because import Because, number, plural
from .finding import Finding, Reason

ALIGNED = 1e-3  # what of an update may be left over when one says that it is a multiple of another
UNEXPLAINED = "unexplained"
_COUNTABLE = 100_000  # above it a factor is hardly a count of anything


@dataclass(frozen=True, slots=True, kw_only=True)
class Deviation:
    """One parameter: norms of its update, of the wanted one and of their difference.

    Attributes:
        dot: Of the two updates.
        weights: Norm at the start.
        along: Product of the difference with the weights at the start.
        limit: How large the difference may be.
        steps, reference_steps: Optimizer steps that held it in the call, where they were seen.
        lr, lr_before, reference_lr: The rate at the step, before the call, and at the reference's step.
        decay, reference_decay: The optimizers' weight_decay.
    """

    name: str
    shape: tuple[int, ...] = ()
    numel: int = 1
    moved: float = 0.0
    wanted: float = 0.0
    error: float = 0.0
    dot: float = 0.0
    weights: float = 0.0
    along: float = 0.0
    limit: float = 0.0
    steps: int = 0
    reference_steps: int = 0
    lr: float | None = None
    lr_before: float | None = None
    reference_lr: float | None = None
    decay: float | None = None
    reference_decay: float | None = None

    @property
    def failed(self) -> bool:
        """The difference is larger than it may be (NaN is)."""
        return not self.error <= self.limit

    @property
    def cosine(self) -> float:
        """Between the two updates; 0 where one of them is zero."""
        size = self.moved * self.wanted
        return self.dot / size if size else 0.0

    @property
    def factor(self) -> float:
        """By which the wanted update must be multiplied to come nearest."""
        return self.dot / self.wanted**2 if self.wanted else math.nan

    @property
    def aligned(self) -> bool:
        """The update is a multiple of the wanted one."""
        if not self.wanted or not self.moved:
            return False
        left = math.sqrt(max(self.moved**2 - self.dot**2 / self.wanted**2, 0.0))
        return left <= max(ALIGNED * self.moved, self.limit)

    @property
    def decayed(self) -> bool:
        """The difference is a multiple of the weights."""
        if not self.weights:
            return False
        left = math.sqrt(max(self.error**2 - (self.along / self.weights) ** 2, 0.0))
        return left <= max(20 * ALIGNED * self.error, 2 * self.limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """What was seen of both in the first call after which they were apart.

    Attributes:
        optimizer, stepped_at: Of the step; None where no optimizer was seen.
        skipped: A gradient scaler left out a step.
        passes, reference_passes: Backward passes in the gradient that was used, where they were seen.
        left_over: Gradients from before the call were in it too.
        clipped: Norm of the gradient at the step relative to what backward left, None where it is not known.
        clipped_after: Norm of the gradient after the call relative to that at the step.
        had_state, reference_had_state: Whether the optimizer brought a state to its first step of the call.
        rebuilt: The optimizer was made after the first call.
        streams_apart: The step drew other random numbers than the reference, or more of them.
    """

    call: int = 1
    calls: int = 1
    optimizer: str | None = None
    stepped_at: str | None = None
    skipped: bool = False
    maximize: bool = False
    reference_maximize: bool = False
    passes: int = 0
    reference_passes: int = 0
    left_over: bool = False
    clipped: float | None = None
    clipped_after: float | None = None
    had_state: bool | None = None
    reference_had_state: bool | None = None
    rebuilt: bool = False
    streams_apart: bool = False
    others: int = 0  # parameters that do as the reference does


class Answer(NamedTuple):
    """What a rule says, and about which of the rows."""

    rows: Sequence[Deviation]
    because: Because


def telling(rows: Sequence[Deviation]) -> list[Deviation]:
    """Leave out single numbers, which are a multiple of anything, unless there is nothing else."""
    return [row for row in rows if row.numel > 1] or list(rows)


def one_factor(rows: Sequence[Deviation]) -> float | None:
    """Return the one factor by which all these updates differ from the wanted ones."""
    sure = telling(rows)
    if not sure or not all(row.aligned for row in sure):
        return None
    wanted = sum(row.wanted**2 for row in sure)
    factor = sum(row.dot for row in sure) / wanted
    slack = 0.01 * abs(factor)
    return factor if all(abs(row.factor - factor) <= slack + row.limit / row.wanted for row in sure) else None


def pooled_cosine(rows: Iterable[Deviation]) -> float:
    """Return the cosine between the two updates of all these parameters together."""
    rows = list(rows)
    size = math.sqrt(sum(row.moved**2 for row in rows) * sum(row.wanted**2 for row in rows))
    return sum(row.dot for row in rows) / size if size else 0.0


def whole_number(value: float) -> int | None:
    """Return the whole number above 1 that a factor is, if it is one."""
    nearest = round(value) if math.isfinite(value) and value < _COUNTABLE else 0
    return nearest if nearest > 1 and abs(value - nearest) <= 0.01 * nearest else None


def times_as_large(factor: float) -> str:
    """Write `2 times as large`, `1/1024 of`."""
    inverse = whole_number(1 / factor) if factor else None
    if inverse is not None:
        return f"1/{inverse} of"
    exact = whole_number(factor)
    return f"{exact if exact is not None else number(factor)} times"


COLUMNS = ("parameter", "shape", "|update|", "wanted", "factor", "cosine", "off by", "allowed")


def rows_of(failed: Sequence[Deviation]) -> tuple[tuple[str, ...], ...]:
    """Make the rows of the table, worst first."""
    worst = sorted(failed, key=lambda row: -row.error if math.isfinite(row.error) else -math.inf)
    return tuple(
        (
            row.name,
            str(row.shape).replace(" ", ""),
            number(row.moved),
            number(row.wanted),
            number(row.factor) if row.wanted and math.isfinite(row.factor) else "-",
            f"{row.cosine:.4f}" if math.isfinite(row.cosine) else "-",
            number(row.error),
            number(row.limit),
        )
        for row in worst
    )


def finding_of(
    claim: str,
    failed: Sequence[Deviation],
    answers: Sequence[tuple[str, Answer]],
    *,
    on_purpose: str,
    notes: Sequence[str] = (),
    msg: str | None = None,
) -> Finding:
    """Put a finding together; the causes stand in the order of how many parameters they answer for."""
    ordered = sorted(answers, key=lambda one: -len(one[1].rows))
    reasons = tuple(
        Reason(
            cause=cause, because=said.because.text, fix=said.because.fix, parameters=tuple(r.name for r in said.rows)
        )
        for cause, said in ordered
    )
    return Finding(
        claim=claim,
        causes=tuple(reason.cause for reason in reasons),
        parameters={name: reason.cause for reason in reasons for name in reason.parameters},
        reasons=reasons,
        columns=COLUMNS,
        rows=rows_of(failed),
        on_purpose=on_purpose,
        notes=tuple(notes),
        msg=msg,
    )


def claim_text(failed: Sequence[Deviation], everything: Sequence[Deviation], what: str, rtol: float) -> str:
    """Write the claim with its numbers: how many, and how far the worst of them is off."""
    largest = max((max(r.moved, r.wanted) for r in everything if math.isfinite(r.moved + r.wanted)), default=0.0)
    worst = max((row.error for row in failed), default=0.0)
    off = number(worst / largest) if largest and math.isfinite(worst) else "NaN"
    return (
        f"{len(failed)} of {plural(len(everything), 'parameter')} {what}"
        f" (off by {off} of the largest update, allowed {number(rtol)})"
    )


def unexplained(rows: Sequence[Deviation], facts: str) -> tuple[str, Answer]:
    """Give the facts where no rule knows."""
    return UNEXPLAINED, Answer(
        rows,
        Because(f"none of the known causes fits. Facts: {facts}.", "please report this step: a cause is missing."),
    )
