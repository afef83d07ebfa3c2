"""Nobody pays for torch, numpy or hypothesis who does not use them: measured in processes of their own."""

import subprocess
import sys

HEAVY = ("hypothesis", "numpy", "torch")
SUITE = f"""
import sys

def test_nothing():
    print("LOADED", *[name for name in {HEAVY} if name in sys.modules])
"""


def loaded(tmp_path, *arguments):
    """Which heavy modules a one-test suite ends up with."""
    tmp_path.joinpath("test_light.py").write_text(SUITE)
    # Hypothesis' own plugin is off, so that what is seen can only come from us.
    command = [sys.executable, "-m", "pytest", "-s", "-p", "no:hypothesispytest", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    line = next((line for line in done.stdout.splitlines() if "LOADED" in line), None)
    assert line is not None, done.stdout + done.stderr
    return line.split("LOADED")[1].split()


def test_a_suite_without_torch_stays_light(tmp_path):
    assert loaded(tmp_path) == loaded(tmp_path, "-p", "no:trainstep") == []


def test_a_plugin_that_imports_torch_would_be_seen(tmp_path):
    tmp_path.joinpath("greedy.py").write_text("import torch")

    assert loaded(tmp_path, "-p", "greedy") == ["numpy", "torch"]


def test_options_marker_and_header_stay_light(tmp_path):
    tmp_path.joinpath("conftest.py").write_text(
        "import pytest\n"
        "def pytest_collection_modifyitems(items):\n"
        "    for item in items:\n"
        "        item.add_marker(pytest.mark.trainstep(steps=2, seed=3))\n"
    )

    assert loaded(tmp_path, "-v", "--trainstep-seed=1", "--trainstep-device=cuda", "--trainstep-steps=2") == []


def run(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_the_door_opens_without_torch():
    code = f"import sys, pytest_trainstep.plugin; print(*[name for name in {HEAVY} if name in sys.modules])"

    assert run(code) == []


def test_a_warning_filter_resolves_without_torch():
    """pytest imports the class that a `filterwarnings` entry names, in every run."""
    code = (
        "import sys\n"
        "from pytest_trainstep import TrainStepError, TrainStepUsageError, TrainStepWarning, WeightsNotUpdated\n"
        f"print(*[name for name in {HEAVY} if name in sys.modules])"
    )

    assert run(code) == []


def test_explaining_a_cause_needs_no_torch(tmp_path):
    code = (
        "import sys, pytest\n"
        "assert pytest.main(['-p', 'no:hypothesispytest', '--trainstep-explain', 'lr-zero']) == 0\n"
        f"print('LOADED', *[name for name in {HEAVY} if name in sys.modules])"
    )

    assert run(code)[-1] == "LOADED"
