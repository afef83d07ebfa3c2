"""Recordings that no test asks for any more: of tests that were renamed or removed."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from pytest_trainstep._errors import TrainStepUsageError

from . import files
from .session import FOLDER


def among(test_files: Collection[str], used: Collection[str], devices: Collection[str]) -> list[Path]:
    """Return the stale recordings beside test files all of whose tests have run and passed.

    A recording of a device on which nothing was recorded here may belong to a test of another machine.
    """
    return sorted(
        path
        for folder in {Path(file).parent / FOLDER for file in test_files}
        if folder.is_dir()
        for path in _unasked(folder, {Path(file).stem for file in test_files if Path(file).parent == folder.parent})
        if str(path) not in used and _is_of(path, devices)
    )


def _unasked(folder: Path, stems: Collection[str]) -> Iterator[Path]:
    """Yield the recordings of the test files `stems`, and of test files that are gone."""
    for inner in folder.iterdir():
        if inner.name in stems or not any(folder.parent.glob(f"{inner.name}.*")):
            yield from inner.glob("*.json")


def _is_of(path: Path, devices: Collection[str]) -> bool:
    """Tell whether a file is a recording made on one of these devices; with none known, on any."""
    try:
        recorded = files.read(path)
    except TrainStepUsageError:
        return False  # not ours
    return recorded is not None and (not devices or recorded.get("device") in devices)
