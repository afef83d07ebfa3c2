"""The file of a recording: small, sorted, readable in a diff; written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_trainstep._errors import TrainStepUsageError

from .session import FOLDER

FORMAT = 1
_DIGITS = 9


def path_for(test_file: Path, test_name: str, key: str) -> Path:
    """Return the file for one recording of one test; odd characters of an id are replaced and told apart."""
    full = f"{test_name}-{key}" if key else test_name
    safe = re.sub(r"[^A-Za-z0-9_.\-]+", "_", full).strip("_") or "test"
    if safe != full or len(safe) > 120:  # noqa: PLR2004 - file systems end at 255 bytes
        safe = f"{safe[:100]}-{hashlib.sha256(full.encode()).hexdigest()[:8]}"
    return test_file.parent / FOLDER / test_file.stem / f"{safe}.json"


def read(path: Path) -> dict[str, Any] | None:
    """Return a recording; None when there is no file.

    Raises:
        TrainStepUsageError: The file is not a recording, or not readable as one.
    """
    __tracebackhide__ = True
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except OSError as error:
        msg = f"the recording {path} cannot be read: {error.strerror or error}"
        raise TrainStepUsageError(msg) from None
    except UnicodeDecodeError:
        msg = f"{path} is not a recording (it is no text); move it away, or delete it to record anew"
        raise TrainStepUsageError(msg) from None
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        msg = f"{path} is not a recording (line {error.lineno}: {error.msg}); mend it, or delete it to record anew"
        raise TrainStepUsageError(msg) from None
    if not _is_recording(data):
        written = data.get("trainstep-recording") if isinstance(data, dict) else None
        which = "" if written in (None, FORMAT) else f"this is format {written}, "
        msg = (
            f"{path} is not a recording of this version of the plugin ({which}it reads format {FORMAT}); move it away, or"
            " delete it to record anew"
        )
        raise TrainStepUsageError(msg)
    recording: dict[str, Any] = data
    return recording


def _is_recording(data: Any) -> bool:
    """Tell whether everything is there that a comparison looks at."""
    if not isinstance(data, dict) or data.get("trainstep-recording") != FORMAT:
        return False
    steps, weights = data.get("steps"), data.get("weights")
    return (
        isinstance(steps, list)
        and all(isinstance(step, dict) and _is_step(step) for step in steps)
        and isinstance(weights, dict)
        and all(isinstance(pair, list) and len(pair) == 2 for pair in weights.values())  # noqa: PLR2004 - norm, projection
    )


def _is_step(step: dict[str, Any]) -> bool:
    return isinstance(step.get("lr", []), list) and isinstance(step.get("options", {}), dict)


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Write a recording atomically: a reader sees the old file or the new one.

    Raises:
        TrainStepUsageError: The folder cannot be written.
    """
    __tracebackhide__ = True
    text = _text(rounded({"trainstep-recording": FORMAT, **content}))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        msg = (
            f"the recording {path} cannot be written: {error.strerror or error}; make its folder writable, or use"
            " --trainstep-record=none, which only compares"
        )
        raise TrainStepUsageError(msg) from None


def _text(content: Mapping[str, Any]) -> str:
    """Write JSON with one line for each step and each parameter: what changes is what a diff shows."""
    return "{\n" + ",\n".join(f" {json.dumps(key)}: {_block(content[key])}" for key in sorted(content)) + "\n}\n"


def _block(value: Any) -> str:
    if isinstance(value, dict) and value:
        lines = ",\n".join(f"  {json.dumps(key)}: {json.dumps(value[key])}" for key in sorted(value))
        return f"{{\n{lines}\n }}"
    if isinstance(value, list) and value:
        lines = ",\n".join(f"  {json.dumps(item, sort_keys=True)}" for item in value)
        return f"[\n{lines}\n ]"
    return json.dumps(value)


def rounded(value: Any) -> Any:
    """Round numbers to what can be compared, so that files differ only where training does."""
    if isinstance(value, float):
        return str(value) if value != value or value in (float("inf"), -float("inf")) else float(f"{value:.{_DIGITS}g}")  # noqa: PLR0124
    if isinstance(value, Mapping):
        return {str(key): rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    return value
