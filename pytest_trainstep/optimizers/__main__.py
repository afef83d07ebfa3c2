"""The table: `python -m pytest_trainstep.optimizers torch.optim.Adam my.module:MyOptimizer [--json FILE]`."""

from __future__ import annotations

import argparse
import importlib
import inspect
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from pytest_trainstep._errors import TrainStepUsageError

from ._catalogue import PROPERTIES, known
from ._conformance import Conformance, examine_optimizer
from ._table import as_json, details, table

_LONG = 10.0  # seconds after which progress is told even where nobody seems to look
_BAR = 24


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the optimizers that are named; return 1 when a property of one fails, else 2 when one cannot be checked."""
    options = _parser().parse_args(arguments)
    try:
        optimizers = [one for name in options.optimizers for one in find(name)]
        skip = dict(_pair(one) for one in options.skip)
        known([*skip, *_listed(options.only), *_listed(options.also)])
        _writable(options.json)
    except TrainStepUsageError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    progress = Progress(len(optimizers))
    tried = [_examine(optimizer, options, skip, progress) for optimizer in optimizers]
    progress.clear()
    found = [one for one in tried if isinstance(one, Conformance)]
    _report(found, options.json)
    for one in tried:
        if isinstance(one, TrainStepUsageError):
            sys.stderr.write(f"error: {one}\n")
    return 1 if any(one.failed for one in found) else 2 * (len(found) < len(tried))


def _report(found: Sequence[Conformance], json: Path | None) -> None:
    if found:
        sys.stdout.write(table(found) + "\n")
    for one in found:
        sys.stdout.write("\n" + details(one) + "\n")
    if json:
        json.write_text(as_json(found))


def _writable(json: Path | None) -> None:
    """Ask before the long run, not after it."""
    if json is not None and not json.absolute().parent.is_dir():
        raise TrainStepUsageError(f"cannot write {json}: there is no folder {json.parent}")


def _examine(
    optimizer: Any, options: argparse.Namespace, skip: dict[str, str], progress: Progress
) -> Conformance | TrainStepUsageError:
    """Examine one; what cannot be built is told at the end, beside what was found of the others."""
    try:
        return examine_optimizer(
            optimizer,
            only=_listed(options.only) or None,
            also=_listed(options.also),
            skip=skip,
            within=options.within,
            max_examples=options.max_examples,
            seed=options.seed,
            progress=progress.tell(getattr(optimizer, "__name__", "optimizer")),
        )
    except TrainStepUsageError as error:
        return error
    finally:
        progress.done += 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pytest_trainstep.optimizers",
        description="Check that optimizers have the properties that training relies on.",
        epilog=f"properties: {', '.join(PROPERTIES)}",
    )
    parser.add_argument(
        "optimizers",
        nargs="+",
        metavar="OPTIMIZER",
        help="package.module.Class, module:name, or a module: all optimizers in it",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything as JSON too")
    parser.add_argument("--only", metavar="NAMES", help="judge these properties only, separated by commas")
    parser.add_argument("--also", metavar="NAMES", help="judge these opt-in properties too")
    parser.add_argument(
        "--skip", action="append", default=[], metavar="NAME=REASON", help="a property that does not apply, and why"
    )
    parser.add_argument(
        "--within", type=int, default=20, metavar="STEPS", help="in how many steps a parameter must have moved"
    )
    parser.add_argument("--max-examples", type=int, metavar="N", help="examples for each property")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="what examples are drawn from")
    return parser


def _listed(text: str | None) -> list[str]:
    return text.split(",") if text else []


def _pair(text: str) -> tuple[str, str]:
    name, _, reason = text.partition("=")
    if not reason.strip():
        raise TrainStepUsageError(f"--skip {text} gives no reason; write --skip {name}='why'")
    return name, reason


def find(name: str) -> list[Callable[..., Any]]:
    """Find what a name on the command line means.

    Raises:
        TrainStepUsageError: Nothing is found under that name.
    """
    module, _, attribute = name.partition(":")
    if not attribute:
        try:
            return _all_in(importlib.import_module(name))
        except ImportError:
            module, _, attribute = name.rpartition(".")
    try:
        found: Any = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise TrainStepUsageError(f"cannot find {name}: {error}") from error
    return _all_in(found) if isinstance(found, ModuleType) else [found]


def _all_in(module: ModuleType) -> list[Callable[..., Any]]:
    optimizer = torch.optim.Optimizer
    found: list[Callable[..., Any]] = [
        one
        for name, one in sorted(vars(module).items())
        if inspect.isclass(one) and issubclass(one, optimizer) and one is not optimizer and not name.startswith("_")
    ]
    if not found:
        raise TrainStepUsageError(f"there is no optimizer in {module.__name__}")
    return found


class Progress:
    """A bar on standard error: always on a terminal, elsewhere a line for each optimizer of a long run."""

    def __init__(self, optimizers: int) -> None:
        self.optimizers = optimizers
        self.done = 0
        self._start = time.monotonic()
        self._terminal = sys.stderr.isatty()
        self._told = 0

    def tell(self, optimizer: str) -> Callable[[int, int, str], None]:
        """Make the callback for one optimizer."""

        def progress(done: int, count: int, name: str) -> None:
            part = (self.done + done / count) / self.optimizers
            if self._terminal:
                bar = ("#" * round(part * _BAR)).ljust(_BAR, ".")
                sys.stderr.write(f"\r\x1b[K[{bar}] {self.done + 1}/{self.optimizers} {optimizer}: {name}")
                sys.stderr.flush()
            elif time.monotonic() - self._start > _LONG and self._told <= self.done:
                sys.stderr.write(f"[{part:4.0%}] {self.done + 1}/{self.optimizers} {optimizer}\n")
                self._told = self.done + 1

        return progress

    def clear(self) -> None:
        """Take the bar away."""
        if self._terminal:
            sys.stderr.write("\r\x1b[K")


if __name__ == "__main__":
    sys.exit(main())
