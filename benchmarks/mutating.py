"""What planting faults costs: the second pass beside the same tests, run as often without any fault.

Run it with `python benchmarks/mutating.py [--tests 100] [--pairs 5] [--steps 20]`. A blind suite, in which no run ends
early, is run in two ways in turns: every test (faults + 1) times as pytest runs it, and once with its second pass. Both
times are taken inside pytest, from the first test to the end of the last, so that imports count for neither, and are
those of the processor.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

FAULTS = ("noop-step", "noop-backward", "zero-lr")
SUITE = """
import pytest, torch
from torch import nn

X, Y = torch.linspace(-1, 1, 64 * 16).reshape(64, 16), torch.zeros(64, 4)

@pytest.mark.parametrize("number", range({tests}))
def test_it(number):
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range({steps}):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(X), Y).backward()
        optimizer.step()
"""
TIMING = """
import json, time
import torch._dynamo
import pytest

marks = []

@pytest.hookimpl(wrapper=True)
def pytest_runtestloop():
    marks.append(time.process_time())
    result = yield
    marks.append(time.process_time())
    return result

def pytest_sessionfinish():  # a second pass lies between the end of the loop and this
    marks.append(time.process_time())
    with open("marks.json", "w") as file:
        json.dump(marks, file)
"""


def run(folder, *arguments):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(  # noqa: S603 - our own interpreter
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return json.loads(Path(folder, "marks.json").read_text())


def plain(folder, tests, steps):
    """Seconds of the processor for the loop with every test (faults + 1) times."""
    Path(folder, "test_it.py").write_text(SUITE.format(tests=tests * (len(FAULTS) + 1), steps=steps))
    began, ended, _ = run(folder)
    return ended - began


def mutated(folder, tests, steps):
    """Seconds of the processor for the second pass."""
    Path(folder, "test_it.py").write_text(SUITE.format(tests=tests, steps=steps))
    _, ended, finished = run(folder, f"--trainstep-mutate={','.join(FAULTS)}")
    return finished - ended


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tests", type=int, default=100)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    asked = parser.parse_args()
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "conftest.py").write_text(TIMING)
        for number in range(asked.pairs):
            ways = (plain, mutated) if number % 2 else (mutated, plain)
            seconds = {way.__name__: way(folder, asked.tests, asked.steps) for way in ways}
            ratios.append(seconds["mutated"] / seconds["plain"])
            print(
                f"pair {number + 1}: {len(FAULTS) + 1} times without a fault {seconds['plain']:.2f} s,"
                f" second pass {seconds['mutated']:.2f} s ({ratios[-1]:.3f}x)"
            )
    print(f"median of {asked.pairs}: {statistics.median(ratios):.3f}x; {asked.tests} tests of {asked.steps} steps")


if __name__ == "__main__":
    main()
