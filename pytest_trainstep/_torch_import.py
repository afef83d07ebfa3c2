"""Notice the moment at which torch is imported, wherever that happens, without ever importing it.

A suite may import torch in a conftest, in a test module, inside a test, through `importorskip`, in an xdist worker, or
never. So a finder stands in front of `sys.meta_path` for as long as somebody wants to know; it passes the question on
to the finders behind it and only adds a call at the end of torch's own execution.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

Callback = Callable[[], object]

notes: list[str] = []
"""What went wrong in a callback: it is told in the report and never raised into the user's import."""

_callbacks: list[Callback] = []
_seen: ModuleType | None = None


class _Finder:
    """Stands in front for good: many libraries ask `find_spec("torch")` long before anyone imports it."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != "torch":
            return None
        behind = itertools.islice(itertools.dropwhile(lambda finder: finder is not self, sys.meta_path), 1, None)
        found = (finder.find_spec(name, path, target) for finder in behind if hasattr(finder, "find_spec"))
        spec = next((spec for spec in found if spec is not None), None)
        if spec is not None:
            _announce_after(spec)
        return spec


_finder = _Finder()


def _announce_after(spec: ModuleSpec) -> None:
    """Let the loader of this spec tell us when it is done; where it cannot, `look` notices later."""
    loader = spec.loader
    execute = getattr(loader, "exec_module", None)
    if execute is None:
        return

    def exec_module(module: ModuleType) -> None:
        vars(loader).pop("exec_module", None)  # from here on the loader is as it was
        execute(module)
        _announce(module)

    try:
        loader.exec_module = exec_module  # type: ignore[union-attr, method-assign]
    except (AttributeError, TypeError):  # a loader with slots, or a class that serves as one
        return


def _announce(module: ModuleType) -> None:
    global _seen  # noqa: PLW0603 (one torch per process)
    _seen = module
    for callback in tuple(_callbacks):
        _call(callback)


def _call(callback: Callback) -> None:
    try:
        callback()
    except Exception as error:  # noqa: BLE001 (an observer must never break the user's import)
        notes.append(f"watching torch being imported failed: {type(error).__name__}: {error}")


def look() -> None:
    """Catch up with an import that went past the finder, through a loader or a finder that knows no manners."""
    module = sys.modules.get("torch")
    if module is not None and module is not _seen:
        _announce(module)


def when_torch_is_imported(callback: Callback) -> Callable[[], bool]:
    """Call ``callback`` when torch has been imported: at once if it has, and again if it is imported anew.

    Returns:
        A function that ends this. It tells whether nobody else (an outer pytest session) is waiting any more.
    """
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    _callbacks.append(callback)
    if sys.modules.get("torch") is not None:
        _call(callback)

    def forget() -> bool:
        _callbacks.remove(callback)
        if not _callbacks and _finder in sys.meta_path:
            sys.meta_path.remove(_finder)
        return not _callbacks

    return forget
