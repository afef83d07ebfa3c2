"""A property: its name, how it is judged in one world, and from which worlds to draw."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from ._case import Case
from ._tensors import World

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

Judge = Callable[[Case, World], str | None]
Unless = Callable[[Case], str | None]

ONE = (1, 1)

_VALUES = 999


@dataclass(frozen=True, slots=True, kw_only=True)
class Property:
    """One named check.

    Attributes:
        name: In the catalogue under this name.
        judge: Raises `ViolationError` (or whatever the optimizer raises); returns a remark, or None.
        groups, sizes, steps: Fewest and most groups, parameters in a group, and steps of its worlds.
        choices: Sorts of worlds; every one of them is tried.
        examples: How many worlds of each sort, by default.
        arithmetic: A pattern for errors of torch's kernels that count as a refusal.
        unless: Why there is nothing to judge, if so.
        opt_in: Whether it runs only when it is named.
    """

    name: str
    judge: Judge
    groups: tuple[int, int] = (1, 1)
    sizes: tuple[int, int] = (1, 3)
    steps: tuple[int, int] = (1, 3)
    choices: tuple[str, ...] = ("",)
    examples: int = 6
    arithmetic: str = ""
    unless: Unless | None = None
    opt_in: bool = False

    def worlds(self, case: Case, choice: str) -> SearchStrategy[World]:
        """Draw worlds of a sort with shapes that the optimizer takes; small and plain ones first."""
        shapes = st.sampled_from(case.shapes)
        group = st.lists(shapes, min_size=self.sizes[0], max_size=self.sizes[1]).map(tuple)
        return st.builds(
            World,
            groups=st.lists(group, min_size=self.groups[0], max_size=self.groups[1]).map(tuple),
            steps=st.integers(*self.steps),
            choice=st.just(choice),
            seed=st.integers(0, _VALUES),
        )
