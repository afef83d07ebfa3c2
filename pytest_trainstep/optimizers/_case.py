"""What is found out about an optimizer before it is judged: how it wants to be called, and what is normal for it."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pytest_trainstep._errors import TrainStepUsageError

from ._subject import Subject, lr_of
from ._tensors import Shape, World, all_same, copies, same, values
from ._trial import Manner, Trial, leaves
from ._verdicts import refuses, words_of

WITHIN = 20  # steps in which a parameter must have moved

_FAMILIES: tuple[tuple[Shape, ...], ...] = (((2,), (3, 2)), ((2, 2), (3, 2), (2, 3)), ((2,), (3,)))
_WISHES = (("closure", r"closure"), ("graph", r"create_graph|grad_fn|hessian"), ("sparse", r"dense gradient"))
_GROWTH = 2.5  # between steps 20 and 30; momentum that only adds up reaches 1.5


class Case:
    """An optimizer with what is known of it.

    Attributes:
        subject: How it is built.
        within: In how many steps a parameter must have moved.
        manner: How its step wants to be called.
        shapes: Shapes that it trains, plain ones first.
        first_move: The step in which all of a few ordinary parameters had moved; None if that never happened.
        trouble: The error that the plainest run ended with, if it did.
        rootless: Whether it is an `Optimizer` whose `Optimizer.__init__` was not called.
    """

    def __init__(self, subject: Subject, within: int = WITHIN) -> None:
        self.subject = subject
        self.within = within
        self.rootless = _rootless(_built(subject))
        footing = _footing(subject, within)
        self.manner, self.shapes = footing.manner, footing.shapes
        self.first_move, self.trouble = footing.first_move, footing.trouble

    @property
    def patience(self) -> int:
        """How many steps to wait for whatever should come after a step or two."""
        if self.first_move is None or self.random:
            return self.within  # a random step may leave some out
        return self._patience

    @property
    def _patience(self) -> int:
        return 2 * (self.first_move or self.within) + 2

    @functools.cached_property
    def lr(self) -> float | None:
        """The learning rate at default settings."""
        return lr_of(self.trial(self.plain).optimizer)

    @functools.cached_property
    def no_lr(self) -> str | None:
        """Why there is no learning rate to set, if so."""
        if not self.subject.takes_lr:
            return "its constructor takes no lr"
        if self.lr is None:
            return "it has no lr of its own at default settings: it sets its own step size"
        try:
            self.trial(self.plain, lr=self.lr)
        except TypeError as error:  # a wrapper that hands its keywords to something without lr
            return words_of(error) if "unexpected keyword" in str(error) else None
        return None

    @functools.cached_property
    def random(self) -> bool:
        """Whether steps draw from torch's random stream."""
        results = []
        for stream in (1, 2):
            trial = self.trial(self.plain)
            torch.manual_seed(stream)
            results.append(trial.steps(self._patience))
        return not all_same(*results)

    @functools.cached_property
    def coupled(self) -> bool:
        """Whether the gradient of one parameter has a say in the step of another."""
        results = []
        for factor in (1.0, 3.0):
            trial = self.trial(World(groups=((self.shapes[0], self.shapes[0]),)))

            def gradient(step: int, place: int, param: Tensor, trial: Trial = trial, factor: float = factor) -> Tensor:
                drawn = trial.ordinary(step, place, param)
                return drawn * factor if place else drawn

            results.append(trial.steps(self.patience, gradient)[0])
        return not same(*results)

    @functools.cached_property
    def one_group(self) -> str | None:
        """What it says if it takes one group only: then all its parameters may be one vector to it."""
        try:
            self.trial(World(groups=(self.shapes, self.shapes)))
        except Exception as error:  # noqa: BLE001  # of the optimizer
            return words_of(error) if refuses(error) else None
        return None

    @functools.cached_property
    def grows(self) -> bool:
        """Whether it changes its step size by itself: under a constant gradient its steps keep growing."""
        trial = self.trial(self.plain)
        lengths = []
        for count in (19, 1, 9, 1):
            before = copies(trial.params)
            trial.steps(count, trial.constant)
            lengths.append(float((trial.params[0].detach() - before[0]).norm()))
        return lengths[3] > _GROWTH * lengths[1] > 0

    @property
    def plain(self) -> World:
        """The plainest world that shows all shapes that it takes."""
        return World(groups=(self.shapes,))

    def trial(self, world: World, params: Sequence[Tensor] | None = None, **overrides: Any) -> Trial:
        """Start a run in a world; its groups are those of the world unless there is one only."""
        sizes = [len(group) for group in world.groups]
        return Trial(
            self.subject,
            self.manner,
            leaves(world) if params is None else params,
            groups=sizes if len(sizes) > 1 else None,
            seed=world.seed,
            **overrides,
        )

    def on(self, params: Sequence[Tensor], *, seed: int = 0, **overrides: Any) -> Trial:
        """Start a run with parameters of one's own, in one group."""
        return Trial(self.subject, self.manner, params, seed=seed, **overrides)


@dataclass(frozen=True, slots=True)
class _Footing:
    """How a plain run over parameters of some shapes went."""

    shapes: tuple[Shape, ...]
    manner: Manner
    first_move: int | None
    trouble: Exception | None

    @property
    def firm(self) -> int:
        return (self.trouble is None) + (self.first_move is not None)


def _footing(subject: Subject, within: int) -> _Footing:
    """Find shapes that it moves, or at least takes: all ordinary ones if it can, matrices alone, vectors alone."""
    best: _Footing | None = None
    for shapes in _FAMILIES:
        found = _settled(subject, shapes, within)
        if best is None or found.firm > best.firm:
            best = found
        if found.first_move is not None:
            break
    assert best is not None
    return best


def _settled(subject: Subject, shapes: tuple[Shape, ...], within: int) -> _Footing:
    """Find the manner in which a plain run works."""
    manner = Manner()
    trouble: Exception | None = None
    for wish in (None, *_WISHES, *_WISHES):  # a wish may hide another
        if wish is not None:
            if trouble is None or not re.search(wish[1], str(trouble), re.IGNORECASE):
                continue
            manner = dataclasses.replace(manner, **{wish[0]: True})
        try:
            return _Footing(shapes, manner, _walk(subject, manner, shapes, within), None)
        except Exception as error:  # noqa: BLE001  # of the user's code; judged later
            trouble = _constructible(subject, error)
    return _Footing(shapes, Manner(), None, trouble)


def _walk(subject: Subject, manner: Manner, shapes: tuple[Shape, ...], within: int) -> int | None:
    """Do the plainest run to its end; return the step by which all parameters had moved."""
    trial = Trial(subject, manner, [values(shape, 1, 2).requires_grad_() for shape in shapes])
    moved: set[int] = set()
    first: int | None = None
    for step in range(1, within + 1):
        trial.step()
        moved |= {place for place, one in enumerate(trial.params) if not same(one, trial.start[place])}
        if first is None and len(moved) == len(trial.params):
            first = step
    return first


def _constructible(subject: Subject, error: Exception) -> Exception:
    """Let a missing argument of a constructor be the user's matter."""
    text = str(error)
    if isinstance(error, TypeError) and "required" in text and "__init__" in text:
        raise TrainStepUsageError(
            f"{subject.name} cannot be constructed: {text}; pass required={{...}} or a functools.partial"
        ) from error
    return error


def _built(subject: Subject) -> Any:
    """Let a constructor that does not take a list of parameters be the user's matter; None where it refuses."""
    params = [values(shape, 0).requires_grad_() for shape in ((2, 2), (3, 2))]
    try:
        return subject.build(params)
    except Exception as error:
        if not refuses(error):
            raise TrainStepUsageError(
                f"{subject.name} cannot be constructed over a list of parameters: {words_of(error)}; pass required={{...}}"
                " or a callable that takes parameters and returns the optimizer"
            ) from error
        return None


def _rootless(optimizer: Any) -> bool:
    return isinstance(optimizer, torch.optim.Optimizer) and not hasattr(optimizer, "_optimizer_step_pre_hooks")


def trouble_text(case: Case) -> str:
    """Say how the plainest run ended."""
    assert case.trouble is not None
    words = words_of(case.trouble)
    if case.rootless:
        return f"Optimizer.__init__ was not called: crashed with {words}"
    return words if refuses(case.trouble) else f"crashed with {words}"
