"""What the audit costs: a suite of one-step tests with and without it, in pairs, and the memory of the process.

Run it with `python benchmarks/audit.py [--tests 500] [--pairs 5] [--steps 1] [--workers 2] [--report]`. Each pair runs
both ways one after the other, in turns first; the ratio of each pair and their median are printed, of wall
time and of time on the processor, which other work on the machine disturbs less. The memory is that of the
process that reports: with `--workers`, of pytest-xdist's controller alone.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HEAD = """
import torch
from torch import nn

X, Y = torch.linspace(-1, 1, 64 * 16).reshape(64, 16), torch.zeros(64, 4)

def train():
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range({steps}):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(X), Y)
        loss.backward()
        optimizer.step()
    assert loss.isfinite()
"""

CONFTEST = """
import pathlib, resource

def pytest_unconfigure(config):
    if not hasattr(config, "workerinput"):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        pathlib.Path(__file__).with_name("peak.txt").write_text(str(peak / 1024))
"""


def write_suite(folder, tests, steps):
    Path(folder, "conftest.py").write_text(CONFTEST)
    lines = [HEAD.format(steps=steps)]
    lines += [f"def test_{number}():\n    train()\n" for number in range(tests)]
    Path(folder, "test_many.py").write_text("\n".join(lines))


def run(folder, *arguments):
    """Return wall seconds, processor seconds and the largest resident set of the reporting process in MiB."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    started = time.perf_counter()
    with subprocess.Popen(  # noqa: S603 - our own interpreter
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = status
    if status:
        raise SystemExit(output)
    memory = float(Path(folder, "peak.txt").read_text())
    return time.perf_counter() - started, usage.ru_utime + usage.ru_stime, memory


def pairs(folder, count, both, audit):
    walls, cpus, memory = [], [], []
    for number in range(count):
        order = [(), audit] if number % 2 else [audit, ()]
        results = {bool(way): run(folder, *both, *way) for way in order}
        plain, audited = results[False], results[True]
        walls.append(audited[0] / plain[0])
        cpus.append(audited[1] / plain[1])
        memory.append(audited[2] - plain[2])
        print(
            f"pair {number + 1}: wall {plain[0]:.2f} -> {audited[0]:.2f} s ({walls[-1]:.3f}x),"
            f" processor {plain[1]:.2f} -> {audited[1]:.2f} s ({cpus[-1]:.3f}x),"
            f" memory {plain[2]:.1f} -> {audited[2]:.1f} MiB"
        )
    print(
        f"median of {count}: wall {statistics.median(walls):.3f}x, processor {statistics.median(cpus):.3f}x,"
        f" memory {statistics.median(memory):+.1f} MiB"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tests", type=int, default=500)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--workers", type=int, default=0, help="run under pytest-xdist")
    parser.add_argument("--report", action="store_true", help="write the page and the JSON as well")
    wanted = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as folder:
        write_suite(folder, wanted.tests, wanted.steps)
        reports = ["--trainstep-report=a.html", "--trainstep-report=a.json"] if wanted.report else []
        workers = ["-n", str(wanted.workers)] if wanted.workers else []
        run(folder)  # compiles and fills the caches
        pairs(folder, wanted.pairs, workers, ["--trainstep-audit", *reports])
        print(f"{wanted.tests} tests of {wanted.steps} steps each, {wanted.workers or 'no'} workers")


if __name__ == "__main__":
    main()
