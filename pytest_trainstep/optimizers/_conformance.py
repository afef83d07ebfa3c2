"""The claim: an optimizer has all the properties of the catalogue, or says clearly which it has not."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from pytest_trainstep._diagnose import Finding, catalogue
from pytest_trainstep._diagnose.finding import Reason
from pytest_trainstep._errors import OptimizerNotConforming, TrainStepUsageError

from ._case import WITHIN, Case
from ._catalogue import PROPERTIES, chosen, known
from ._running import Examination, sheltered
from ._subject import Factory, Subject
from ._table import details

if TYPE_CHECKING:
    from ._verdicts import Outcome

_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Conformance:
    """What became of every property of one optimizer.

    Attributes:
        optimizer: Its name.
        seed: What the worlds were drawn from.
        outcomes: One for each property that was asked for, in the order of the catalogue.
    """

    optimizer: str
    seed: int
    outcomes: tuple[Outcome, ...]

    @property
    def failed(self) -> tuple[Outcome, ...]:
        """The failures."""
        return tuple(one for one in self.outcomes if one.verdict == "failed")

    @property
    def seconds(self) -> float:
        """How long it took altogether."""
        return sum(one.seconds for one in self.outcomes)

    def __getitem__(self, name: str) -> Outcome:
        return next(one for one in self.outcomes if one.name == name)

    def __str__(self) -> str:
        return details(self, every=True)


def examine_optimizer(
    optimizer: Factory,
    *,
    only: Sequence[str] | None = None,
    also: Sequence[str] = (),
    skip: Mapping[str, str] | None = None,
    required: Mapping[str, object] | None = None,
    within: int = WITHIN,
    max_examples: int | None = None,
    seed: int = 0,
    progress: Callable[[int, int, str], None] | None = None,
) -> Conformance:
    """Judge every property of an optimizer and return what became of it, failures included.

    Args:
        optimizer: As for `check_optimizer`, and so are all other arguments but one.
        only: See there.
        also: See there.
        skip: See there.
        required: See there.
        within: See there.
        max_examples: See there.
        seed: See there.
        progress: Called before each property with how many are done, how many there are, and its name.

    Returns:
        The outcomes. `str()` of it is a list, one line for each property.

    Raises:
        TrainStepUsageError: The arguments make no sense, or the optimizer cannot be constructed.

    Example:
        >>> import torch
        >>> found = examine_optimizer(torch.optim.Adamax, only=["updates", "updates-sparse"], max_examples=2)
        >>> found["updates"].verdict, found["updates-sparse"].verdict
        ('passed', 'declined')
        >>> found["updates-sparse"].text
        'RuntimeError: Adamax does not support sparse gradients'
    """
    names = chosen(only, also)
    examination = _examination(
        optimizer, names, skip=skip, required=required, within=within, max_examples=max_examples, seed=seed
    )
    outcomes = []
    for done, name in enumerate(names):
        if progress is not None:
            progress(done, len(names), name)
        outcomes.append(examination.outcome(name))
    return Conformance(optimizer=examination.case.subject.name, seed=seed, outcomes=tuple(outcomes))


def _examination(
    optimizer: Factory,
    names: Sequence[str],
    *,
    skip: Mapping[str, str] | None,
    required: Mapping[str, object] | None,
    within: int,
    max_examples: int | None,
    seed: int,
) -> Examination:
    _checked(skip or {}, within=within, max_examples=max_examples)
    subject = Subject(optimizer, required=required)
    with sheltered():
        case = Case(subject, within)
    return Examination(case, names, skip=dict(skip or {}), seed=seed, max_examples=max_examples)


def _checked(skip: Mapping[str, object], **counts: object) -> None:
    known(skip)
    for name, reason in skip.items():
        if not isinstance(reason, str) or not reason.strip():
            raise TrainStepUsageError(f"skip={{{name!r}: ...}} needs a reason in words, not {reason!r}")
    for argument, value in counts.items():
        if value is not None and (not isinstance(value, int) or value < 1):
            raise TrainStepUsageError(f"{argument} must be 1 or more, not {value!r}")


def check_optimizer(
    optimizer: Factory,
    *,
    only: Sequence[str] | None = None,
    also: Sequence[str] = (),
    skip: Mapping[str, str] | None = None,
    required: Mapping[str, object] | None = None,
    within: int = WITHIN,
    max_examples: int | None = None,
    seed: int = 0,
    msg: str | None = None,
) -> Conformance:
    """An optimizer has every property that training relies on, or clearly refuses what it does not do.

    Each property is tried on generated parameters and gradients and shrunk to the smallest example that fails. A
    refusal in the optimizer's own words ("does not support sparse gradients") is no failure: the property counts as
    declined. A failure that another one explains is not judged, as long as both properties are asked for.

    Args:
        optimizer: An optimizer class, a `functools.partial` of one, or any callable that takes parameters (or
            groups) first and keywords after, and returns an optimizer.
        only: Names of the properties to judge; all but those that are opt-in by default.
        also: Names of opt-in properties (``"compiles"``) to judge as well.
        skip: Properties that do not apply by design, each with its reason, which is shown.
        required: Arguments of the constructor beyond ``params`` and ``lr``.
        within: In how many steps a parameter must have moved.
        max_examples: Examples for each property and sort of world; by default 2 to 12, as the property needs.
        seed: What the examples are drawn from: the same seed, the same examples.
        msg: Text of your own, printed below the message.

    Returns:
        What became of every property, if none failed.

    Raises:
        OptimizerNotConforming: With `.finding`; its ``causes`` are the names of the properties that failed.
        TrainStepUsageError: The arguments make no sense, or the optimizer cannot be constructed without more.

    Example:
        >>> import torch
        >>> class Forgetful(torch.optim.SGD):
        ...     def step(self, closure=None):
        ...         for p in self.param_groups[0]["params"]:  # and the other groups?
        ...             p.data -= self.param_groups[0]["lr"] * p.grad
        >>> check_optimizer(Forgetful, only=["updates", "updates-every-group"])
        Traceback (most recent call last):
        ...
        pytest_trainstep.OptimizerNotConforming: updates-every-group: Forgetful fails 1 of 2 properties
        ...
    """
    __tracebackhide__ = True
    found = examine_optimizer(
        optimizer,
        only=only,
        also=also,
        skip=skip,
        required=required,
        within=within,
        max_examples=max_examples,
        seed=seed,
    )
    if found.failed:
        raise OptimizerNotConforming(finding_of(found, msg))
    return found


def finding_of(found: Conformance, msg: str | None = None) -> Finding:
    """Put the failures of an examination into a finding."""
    failed = found.failed
    entries = catalogue.catalogue()
    return Finding(
        claim=f"{found.optimizer} fails {len(failed)} of {len(found.outcomes)} properties",
        causes=tuple(one.name for one in failed),
        reasons=tuple(
            Reason(cause=one.name, because=f"{one.text}.", fix=entries[one.name].fix) for one in failed[:_SHOWN]
        )
        + tuple(Reason(cause=one.name, because="", fix="") for one in failed[_SHOWN:]),
        columns=("property", "smallest example"),
        rows=tuple((one.name, one.example or "-") for one in failed),
        on_purpose=f"pass skip={{{', '.join(f'{one.name!r}: reason' for one in failed[:_SHOWN])}}}",
        notes=_notes(found),
        msg=msg,
    )


def _notes(found: Conformance) -> tuple[str, ...]:
    notes = [f"seed {found.seed}"]
    for verdict in ("declined", "skipped", "not judged"):
        some = [
            f"{one.name} ({one.text})" if verdict == "skipped" else one.name
            for one in found.outcomes
            if one.verdict == verdict
        ]
        if some:
            notes.append(f"{verdict}: {', '.join(some)}")
    return tuple(notes)


class Check:
    """One property of one optimizer, to be called in a test."""

    def __init__(self, name: str, subject: str, examination: Callable[[], Examination]) -> None:
        self.name = name
        self.optimizer = subject
        self._examination = examination

    def __call__(self) -> None:
        """Judge the property: raise on failure, skip the test where it is declined, skipped or not judged.

        Raises:
            OptimizerNotConforming: The property does not hold.
        """
        __tracebackhide__ = True
        examination = self._examination()
        outcome = examination.outcome(self.name)
        if outcome.verdict == "failed":
            found = Conformance(optimizer=self.optimizer, seed=examination.seed, outcomes=(outcome,))
            raise OptimizerNotConforming(finding_of(found))
        if outcome.verdict != "passed":
            pytest.skip(f"{outcome.verdict}: {outcome.text}")

    def __repr__(self) -> str:
        return f"<{self.name} of {self.optimizer}>"


def parametrize_with_optimizer_checks(
    optimizers: Iterable[Factory],
    *,
    only: Sequence[str] | None = None,
    also: Sequence[str] = (),
    skip: Mapping[str, str] | None = None,
    required: Mapping[str, object] | None = None,
    within: int = WITHIN,
    max_examples: int | None = None,
    seed: int = 0,
) -> pytest.MarkDecorator:
    """Make one test for each property of each optimizer, as the argument ``check``.

    Optimizers are first built when a test runs. A property that an optimizer declines, that ``skip`` names, or that
    another failure hides, is a skipped test with the reason.

    Args:
        optimizers: Optimizer classes, partials or callables, as for `check_optimizer`.
        only: As for `check_optimizer`, for all of them; so are the others.
        also: See there.
        skip: See there.
        required: See there.
        within: See there.
        max_examples: See there.
        seed: See there.

    Returns:
        The decorator.

    Raises:
        TrainStepUsageError: The arguments make no sense.

    Example:
        >>> import torch
        >>> @parametrize_with_optimizer_checks([torch.optim.SGD, torch.optim.Adam], only=["updates", "closure"])
        ... def test_conforms(check):
        ...     check()
        >>> [param.id for param in test_conforms.pytestmark[0].args[1]]
        ['SGD-updates', 'SGD-closure', 'Adam-updates', 'Adam-closure']
    """
    names = chosen(only, also)
    params = []
    for optimizer in optimizers:
        subject = Subject(optimizer, required=required)
        once = _Once(
            functools.partial(
                _examination,
                optimizer,
                names,
                skip=skip,
                required=required,
                within=within,
                max_examples=max_examples,
                seed=seed,
            )
        )
        params += [pytest.param(Check(name, subject.name, once), id=f"{subject.name}-{name}") for name in names]
    return pytest.mark.parametrize("check", params)


class _Once:
    """Examine when first asked, once for all tests of an optimizer."""

    def __init__(self, make: Callable[[], Examination]) -> None:
        self._make = make
        self._made: Examination | None = None

    def __call__(self) -> Examination:
        self._made = self._made or self._make()
        return self._made


def all_properties() -> list[str]:
    """Return every name, opt-in ones included."""
    return list(PROPERTIES)
