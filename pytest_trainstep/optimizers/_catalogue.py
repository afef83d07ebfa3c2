"""All properties in order, and which failure hides which others: a fault stands before the faults it hides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pytest_trainstep._errors import TrainStepUsageError

from . import _calling, _formats, _gradients, _keeping, _learning, _moving, _rates

if TYPE_CHECKING:
    from ._property import Property

_ALL = (
    *_moving.PROPERTIES,
    *_formats.PROPERTIES,
    *_rates.PROPERTIES,
    *_gradients.PROPERTIES,
    *_learning.PROPERTIES,
    *_calling.PROPERTIES,
    *_keeping.PROPERTIES,
)
PROPERTIES: Mapping[str, Property] = {one.name: one for one in _ALL}
FIRST, ROOT = "updates", "hooks-fire"

_BY_ITSELF = {FIRST, ROOT, "leaves-gradients-alone", "rejects-bad-hyperparameters", "no-memory-growth"}
_COMPARING = {
    "compiles",
    "deepcopy-and-pickle",
    "follows-lr",
    "foreach-and-loop-agree",
    "fused-and-loop-agree",
    "parameters-independent",
    "skips-missing-gradients",
    "state-dict-round-trip",
    "updates-every-layout",
    "updates-sparse",
}
# Whatever is kept in the wrong place is lost by a copy too.
_MISPLACED = (
    "add-param-group",
    "closure",
    "no-memory-growth",
    "parameters-independent",
    "skips-missing-gradients",
    "state-dict-round-trip",
    "zero-lr-is-identity",
)

_HIDES: Mapping[str, frozenset[str]] = {
    FIRST: frozenset(PROPERTIES) - _BY_ITSELF,
    "reproducible": frozenset(_COMPARING),
    ROOT: frozenset(
        {"add-param-group", "deepcopy-and-pickle", "follows-lr", "state-dict-round-trip", "tolerates-empty-groups"}
    ),
    "skips-missing-gradients": frozenset({"tolerates-empty-groups"}),
    "updates-every-group": frozenset(
        {"add-param-group", "deepcopy-and-pickle", "follows-lr", "tolerates-empty-groups"}
    ),
    "follows-lr": frozenset({"add-param-group", "deepcopy-and-pickle", "zero-lr-is-identity"}),
    "leaves-gradients-alone": frozenset({"updates-every-layout"}),
    "parameters-independent": frozenset({"descends", "foreach-and-loop-agree", "state-dict-round-trip"}),
    "updates-every-shape": frozenset({"updates-every-layout"}),
}


def hiders_of(name: str) -> list[str]:
    """Return the properties whose failure makes a failure of this one mean nothing."""
    hiders = [one for one, hidden in _HIDES.items() if name in hidden]
    return [*hiders, *_MISPLACED] if name == "deepcopy-and-pickle" else hiders


def chosen(only: object, also: object) -> list[str]:
    """Return the names to judge, in the order of the catalogue; wrong names are the user's error."""
    if only is None:
        names = [one.name for one in PROPERTIES.values() if not one.opt_in]
        return known([*names, *_names(also)])
    return known([*_names(only), *_names(also)])


def known(names: object) -> list[str]:
    """Check names and put them in order."""
    import difflib

    given = _names(names)
    for name in given:
        if name not in PROPERTIES:
            near = difflib.get_close_matches(name, PROPERTIES, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise TrainStepUsageError(f"no property of optimizers is called {name!r}{hint}")
    return [name for name in PROPERTIES if name in given]


def _names(names: object) -> list[str]:
    if names is None:
        return []
    if isinstance(names, str) or not hasattr(names, "__iter__"):
        raise TrainStepUsageError(f"expected names of properties in a list, not {names!r}")
    return [str(name) for name in names]
