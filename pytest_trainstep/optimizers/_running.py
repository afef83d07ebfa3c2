"""Run one property by Hypothesis and say what became of it."""

from __future__ import annotations

import random
import time
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import hypothesis
import torch
from hypothesis import HealthCheck, Phase
from hypothesis import errors as hypothesis_errors

from ._case import Case, trouble_text
from ._catalogue import FIRST, PROPERTIES, ROOT, hiders_of
from ._verdicts import Outcome, RefusalError, Verdict, ViolationError, refuses, words_of

if TYPE_CHECKING:
    from ._property import Property
    from ._tensors import World

_AFTER_A_FAILURE = 60  # worlds that are still tried to find a smaller one


@dataclass
class _Log:
    """What happened in the worlds of one property. Answers are kept, so that chance cannot make them differ."""

    violations: dict[World, str] = field(default_factory=dict)
    refusals: dict[World, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    fine: set[World] = field(default_factory=set)
    last: World | None = None

    @property
    def spent(self) -> bool:
        return bool(self.violations) and len(self.violations) + len(self.fine) > _AFTER_A_FAILURE


class Examination:
    """All that is found out about one optimizer; a property is judged once, when it is first asked for.

    A failure is hidden only by a property that is asked for too: what is hidden must stay visible as the other's.
    """

    def __init__(
        self, case: Case, names: Collection[str], *, skip: Mapping[str, str], seed: int, max_examples: int | None
    ) -> None:
        self.case = case
        self.names = names
        self.seed = seed
        self.max_examples = max_examples
        self.skip = skip
        self._outcomes: dict[str, Outcome] = {}

    def outcome(self, name: str) -> Outcome:
        """Judge a property; a failure that another failure explains is not judged."""
        found = self._bare(name)
        if found.verdict != "failed":
            return found
        for hider in self._hiders_of(name):
            if self._bare(hider).verdict == "failed":
                return _outcome(name, "not judged", f"hidden by the failure of {hider}", found.example, found.seconds)
        return found

    def _hiders_of(self, name: str) -> list[str]:
        # What the plainest run dies of, every property would die of.
        hiders = hiders_of(name) if self.case.trouble is None else [ROOT if self.case.rootless else FIRST]
        return [one for one in hiders if one in self.names and one != name]

    def _bare(self, name: str) -> Outcome:
        if name not in self._outcomes:
            start = time.perf_counter()
            found = self._judge(PROPERTIES[name])
            seconds = round(time.perf_counter() - start, 4)
            self._outcomes[name] = _outcome(name, found.verdict, found.text, found.example, seconds)
        return self._outcomes[name]

    def _judge(self, prop: Property) -> Outcome:
        if prop.name in self.skip:
            return _outcome(prop.name, "skipped", self.skip[prop.name])
        if self.case.trouble is not None:
            refused = refuses(self.case.trouble)
            return _outcome(prop.name, "declined" if refused else "failed", trouble_text(self.case))
        log = _Log()
        with sheltered():
            try:
                reason = prop.unless(self.case) if prop.unless else None
            except Exception as error:  # noqa: BLE001  # of the optimizer
                return _outcome(prop.name, "failed", f"crashed with {words_of(error)}")
            if reason is not None:
                return _outcome(prop.name, "not judged", reason)
            for choice in prop.choices:
                self._search(prop, choice, log)
                if log.violations:
                    break
        return _summary(prop.name, log)

    def _search(self, prop: Property, choice: str, log: _Log) -> None:
        @hypothesis.seed(self.seed)
        @hypothesis.settings(
            max_examples=self.max_examples or prop.examples,
            deadline=None,
            database=None,
            report_multiple_bugs=False,
            print_blob=False,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
            verbosity=hypothesis.Verbosity.quiet,
        )
        @hypothesis.given(world=prop.worlds(self.case, choice))
        def search(world: World) -> None:
            if _try(prop, self.case, world, log):
                log.last = world
                raise ViolationError

        with suppress(ViolationError, hypothesis_errors.Flaky):  # what was seen stands in the log
            search()


def _try(prop: Property, case: Case, world: World, log: _Log) -> bool:
    """Judge one world and remember the answer; tell whether it is a violation."""
    if world in log.violations:
        return True
    if world in log.fine or log.spent:
        return False
    try:
        remark = prop.judge(case, world)
    except ViolationError as violation:
        log.violations[world] = str(violation)
        return True
    except Exception as error:  # noqa: BLE001  # of the optimizer: a refusal or a crash
        if isinstance(error, RefusalError) or refuses(error, prop.arithmetic):
            log.refusals[world] = str(error) if isinstance(error, RefusalError) else words_of(error)
        else:
            log.violations[world] = f"crashed with {words_of(error)}"
            return True
    else:
        log.remarks += [remark] if remark and remark not in log.remarks else []
    log.fine.add(world)
    return False


def _summary(name: str, log: _Log) -> Outcome:
    if log.violations:
        world = log.last or next(iter(log.violations))
        return _outcome(name, "failed", log.violations[world], str(world))
    if log.refusals:
        world, words = next(iter(log.refusals.items()))
        return _outcome(name, "declined", words + _in_part(log), str(world))
    return _outcome(name, "passed", "; ".join(log.remarks[:3]))


def _in_part(log: _Log) -> str:
    """Say which sorts of worlds were refused, where others were not."""
    refused = list(dict.fromkeys(world.choice for world in log.refusals))
    held = {world.choice for world in log.fine - log.refusals.keys()} - set(refused)
    rest = "the other holds" if len(held) == 1 else f"the other {len(held)} hold"
    return f" ({', '.join(refused)}; {rest})" if held else ""


def _outcome(name: str, verdict: Verdict, text: str = "", example: str = "", seconds: float = 0.0) -> Outcome:
    return Outcome(name=name, verdict=verdict, text=text, example=example, seconds=seconds)


@contextmanager
def sheltered() -> Iterator[None]:
    """Keep warnings of the optimizer to ourselves, and give random streams and switches back as they were."""
    streams, threads = random.getstate(), torch.get_num_threads()
    torch.set_num_threads(1)  # tensors of a few elements only wait for the others
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]), torch.enable_grad():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            random.setstate(streams)
            torch.set_num_threads(threads)
