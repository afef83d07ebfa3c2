"""What the plugin adds to the start of pytest, for a suite that never imports torch: paired runs, medians.

python benchmarks/startup.py [--pairs 15]
"""

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

SUITE = """
import sys

def test_nothing_heavy_was_loaded():
    assert not {"torch", "numpy", "hypothesis"} & set(sys.modules)
"""


def run(folder, *plugin):
    """Run the suite once; return wall and CPU seconds."""
    # no plugin is found by itself, so that ours is the only difference
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    # as after an installation: nothing is compiled anew
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    environment["PYTHONPYCACHEPREFIX"] = str(folder / "bytecode")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *plugin, str(folder)]
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)  # noqa: S603 - ourselves
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main():
    parser = argparse.ArgumentParser(description="What the plugin adds to the start of pytest.")
    parser.add_argument("--pairs", type=int, default=15)
    pairs = parser.parse_args().pairs
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.joinpath("test_light.py").write_text(SUITE, encoding="ascii")
        ways = {"without": (), "with": ("-p", "pytest_trainstep.plugin")}
        for plugin in ways.values():
            run(folder, *plugin)
        rows = {way: [] for way in ways}
        for number in range(pairs):
            for way in sorted(ways, reverse=bool(number % 2)):  # each goes first every other time
                rows[way].append(run(folder, *ways[way]))
    print(f"Python {platform.python_version()}, pytest {metadata.version('pytest')}; {pairs} pairs, one test each")
    print(f"{'':10}{'wall ms':>10}{'CPU ms':>10}")
    for way, values in rows.items():
        wall, cpu = (statistics.median(column) * 1e3 for column in zip(*values, strict=True))
        print(f"{way:10}{wall:10.0f}{cpu:10.0f}")
    differences = [(b[0] - a[0], b[1] - a[1]) for a, b in zip(rows["without"], rows["with"], strict=True)]
    wall, cpu = (statistics.median(column) * 1e3 for column in zip(*differences, strict=True))
    print(f"{'added':10}{wall:10.1f}{cpu:10.1f}   median of the differences within a pair")


if __name__ == "__main__":
    main()
