"""Trials in fresh interpreters, which differ in what no process can change: the hash seed of strings."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytest_trainstep._errors import TrainStepUsageError

from .trials import Conditions, Trial

_HASH_SEEDS = ("1", "2")
_TIMEOUT = 600
_CHILD = """
import importlib.util, json, sys
sys.path[:0] = json.loads(sys.argv[5])
spec = importlib.util.spec_from_file_location(sys.argv[1], sys.argv[2])
module = importlib.util.module_from_spec(spec)
sys.modules[sys.argv[1]] = module
spec.loader.exec_module(module)
from pytest_trainstep._watch import trials
make = module
for part in sys.argv[3].split("."):
    make = getattr(make, part)
number = int(sys.argv[6])
conditions = trials.Conditions(dict.fromkeys(trials.STREAMS, number))
trial = trials.run(make, int(sys.argv[4]), conditions)
print("\\n" + json.dumps({"losses": trial.losses, "weights": trial.weights}))
"""


def run_twice(make_trainer: Callable[[], Any], steps: int) -> tuple[Trial, Trial]:
    """Run a trial in each of two new interpreters.

    Raises:
        TrainStepUsageError: `make_trainer` cannot be found from outside, or the run failed there.
    """
    file, name = _address(make_trainer)
    running = [_start(file, name, steps, hash_seed, number) for number, hash_seed in enumerate(_HASH_SEEDS)]
    try:
        first, second = (_result(one) for one in running)
    finally:
        for one in running:
            one.kill()  # the second, where the first has failed
            one.wait()
    return first, second


def _address(make_trainer: Callable[[], Any]) -> tuple[str, str]:
    name = getattr(make_trainer, "__qualname__", "<locals>")
    file = inspect.getsourcefile(make_trainer) if name.isidentifier() or "." in name else None
    if file is None or "<" in name or not Path(file).is_file():
        msg = (
            "processes=True needs a make_trainer at the top level of a file (a function or a class), so that a new"
            f" interpreter can find it; this one is {name}"
        )
        raise TrainStepUsageError(msg)
    return file, name


def _start(file: str, name: str, steps: int, hash_seed: str, number: int) -> subprocess.Popen[str]:
    paths = json.dumps([str(Path(file).parent), *[path for path in sys.path if path]])
    module = Path(file).stem
    command = [sys.executable, "-c", _CHILD, module, file, name, str(steps), paths, str(number)]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    return subprocess.Popen(  # noqa: S603 - this interpreter, our own few lines, the user's own file
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def _result(running: subprocess.Popen[str]) -> Trial:
    try:
        output, errors = running.communicate(timeout=_TIMEOUT)
    except subprocess.TimeoutExpired:
        msg = f"the run in a new interpreter has not ended after {_TIMEOUT} s"
        raise TrainStepUsageError(msg) from None
    if running.returncode:
        tail = errors.strip().splitlines()[-1:] or ["no output"]
        msg = f"the run in a new interpreter failed: {tail[0]}"
        raise TrainStepUsageError(msg)
    data = json.loads(output.strip().splitlines()[-1])
    return Trial(data["losses"], data["weights"], {})


__all__ = ["Conditions", "run_twice"]
