"""The catalogue of causes: what each name means, an example, the fix, and how to say "on purpose".

Each family of claims keeps its entries in a module of `entries`; they are found there, not listed here.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One cause.

    Attributes:
        name: The kebab-case reference. Once released it is never renamed or reused.
        claims: The claims that can fail for this cause.
        fault: What is wrong, in one or two sentences.
        example: A few lines of code that show it.
        fix: What to do.
        on_purpose: How to tell the assertion that it is meant to be so.
    """

    name: str
    claims: tuple[str, ...]
    fault: str
    example: str
    fix: str
    on_purpose: str

    def __str__(self) -> str:
        code = "\n".join(f"    {line}" if line else "" for line in self.example.strip("\n").splitlines())
        return (
            f"{self.name}\n\n{self.fault}\n\n{code}\n\n"
            f"fix: {self.fix}\non purpose? {self.on_purpose}\nclaims: {', '.join(self.claims)}\n"
        )


@functools.cache
def catalogue() -> Mapping[str, Entry]:
    """Return every entry by name, in the order of the families and of their modules."""
    package = importlib.import_module("pytest_trainstep._diagnose.entries")
    names = sorted(module.name for module in pkgutil.iter_modules(package.__path__))
    families = [importlib.import_module(f"{package.__name__}.{name}") for name in names]
    found: dict[str, Entry] = {}
    for family in families:
        for entry in family.ENTRIES:
            assert entry.name not in found, f"the cause {entry.name} stands in two families"
            found[entry.name] = entry
    for family in families:  # claims that can fail for causes of other families
        for name, claims in getattr(family, "ALSO", {}).items():
            found[name] = dataclasses.replace(found[name], claims=(*found[name].claims, *claims))
    return MappingProxyType(found)


def explain(name: str) -> str:
    """Return the text for one cause.

    Raises:
        KeyError: There is no such cause; the message names those that resemble it.
    """
    if name not in catalogue():
        near = difflib.get_close_matches(name, catalogue(), n=3, cutoff=0.4)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        msg = f"no cause is called {name!r}{hint}"
        raise KeyError(msg)
    return str(catalogue()[name])


def listing() -> str:
    """Return all names with their first sentence."""
    width = max(len(name) for name in catalogue())
    lines = [f"{name.ljust(width)}  {_first_sentence(one.fault)}" for name, one in catalogue().items()]
    return "\n".join(lines) + "\n"


def _first_sentence(text: str) -> str:
    return text.partition(". ")[0].rstrip(".") + "."
