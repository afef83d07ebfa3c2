"""What is found out about an optimizer before it is judged: how it wants to be called, and what is normal for it."""

from __future__ import annotations

import functools
from collections.abc import Sequence
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
        shapes: Shapes that it takes, plain ones first.
        first_move: The step in which all of a few ordinary parameters had moved; None if that never happened.
        trouble: The error that the plainest run ended with, if it did.
    """

    def __init__(self, subject: Subject, within: int = WITHIN) -> None:
        self.subject = subject
        self.within = within
        self.manner = Manner()
        self.shapes = _FAMILIES[0]
        self.first_move: int | None = None
        self.trouble: Exception | None = None
        _built(subject)
        for shapes in _FAMILIES:
            trouble = self._settle(shapes)
            if trouble is None:
                self.shapes, self.trouble = shapes, None
                break
            self.trouble = self.trouble or trouble

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

    def shape_at(self, place: int) -> Shape:
        """Return one of the shapes that it takes."""
        return self.shapes[place % len(self.shapes)]

    def _settle(self, shapes: tuple[Shape, ...]) -> Exception | None:
        """Find the manner in which a plain run works; return the error if there is none."""
        trouble: Exception | None = None
        for wish in (None, *_WISHES, *_WISHES):  # a wish may hide another
            if wish is not None:
                if trouble is None or not _asks(trouble, wish[1]):
                    continue
                self.manner = _with(self.manner, wish[0])
            try:
                self.first_move = self._walk(shapes)
            except Exception as error:  # noqa: BLE001  # of the user's code; judged later
                trouble = _constructible(self.subject, error)
            else:
                return None
        self.manner = Manner()
        return trouble

    def _walk(self, shapes: tuple[Shape, ...]) -> int | None:
        trial = Trial(self.subject, self.manner, [values(shape, 1, 2).requires_grad_() for shape in shapes])
        moved: set[int] = set()
        for step in range(1, self.within + 1):
            trial.step()
            moved |= {place for place, one in enumerate(trial.params) if not same(one, trial.start[place])}
            if len(moved) == len(trial.params):
                return step
        return None


def _asks(trouble: Exception, pattern: str) -> bool:
    import re

    return re.search(pattern, str(trouble), re.IGNORECASE) is not None


def _with(manner: Manner, wish: str) -> Manner:
    from dataclasses import replace

    return replace(manner, **{wish: True})


def _constructible(subject: Subject, error: Exception) -> Exception:
    """Let a missing argument of a constructor be the user's matter."""
    text = str(error)
    if isinstance(error, TypeError) and "required" in text and "__init__" in text:
        raise TrainStepUsageError(
            f"{subject.name} cannot be constructed: {text}; pass required={{...}} or a functools.partial"
        ) from error
    return error


def _built(subject: Subject) -> None:
    """Let a constructor that does not take a list of parameters be the user's matter."""
    params = [values(shape, 0).requires_grad_() for shape in ((2, 2), (3, 2))]
    try:
        subject.build(params)
    except Exception as error:
        if not refuses(error):
            raise TrainStepUsageError(
                f"{subject.name} cannot be constructed over a list of parameters: {words_of(error)}; pass required={{...}}"
                " or a callable that takes parameters and returns the optimizer"
            ) from error


def trouble_text(trouble: Exception) -> str:
    """Say how the plainest run ended."""
    return words_of(trouble) if refuses(trouble) else f"crashed with {words_of(trouble)}"
