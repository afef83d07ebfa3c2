"""The face, seen from outside: a project is written, pytest runs it, outcomes and lines are read."""

import pytest

# Imported before any inner run: pytester forgets what one of them was the first to import, and imports it again.
pytest.importorskip("torch._dynamo")
pytest.importorskip("hypothesis.internal.entropy")

# pytest reads the second one since its version 9.
TABLES = ["[tool.pytest.ini_options]", *(["[tool.pytest]"] if pytest.version_tuple >= (9,) else [])]

MODEL = """
import pytest
import torch

calls = []
body, head = torch.nn.Linear(2, 2), torch.nn.Linear(2, 1)
model = torch.nn.Sequential()
model.add_module("body", body)
model.add_module("head", head)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

def step():
    calls.append(1)
    optimizer.zero_grad()
    model(torch.ones(3, 2)).sum().backward()
    optimizer.step()
"""
ONLY_THE_HEAD = MODEL + "\noptimizer = torch.optim.SGD(head.parameters(), lr=0.1)\n"


@pytest.fixture
def project(pytester, monkeypatch):
    """A project to write and run; nothing of the machine's own settings leaks in."""
    for name in ("TRAINSTEP_DEVICE", "TRAINSTEP_SEED", "PYTEST_ADDOPTS"):
        monkeypatch.delenv(name, raising=False)
    return pytester


def run(project, source, *arguments, **outcomes):
    project.makepyfile(source)
    result = project.runpytest_inprocess("-p", "no:cacheprovider", *arguments)
    if outcomes:
        result.assert_outcomes(**outcomes)
    return result


def usage_error(project, *arguments):
    """What pytest says when it refuses to start."""
    result = project.runpytest_inprocess(*arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR, result.stdout.str()
    return result.stderr


# How often an assertion runs the step.

COUNTING = """
{mark}
def test_count(trainstep):
    trainstep.assert_weights_update(model, step)
    assert len(calls) == {expected}
"""


def counting(expected, mark=""):
    return MODEL + COUNTING.format(expected=expected, mark=mark)


def test_a_step_runs_once_when_nobody_says_otherwise(project):
    run(project, counting(1), passed=1)


def test_the_option_says_how_often(project):
    run(project, counting(4), "--trainstep-steps=4", passed=1)


@pytest.mark.parametrize("table", TABLES)
def test_the_ini_file_says_how_often_in_both_tables(project, table):
    project.makepyprojecttoml(f"{table}\ntrainstep_steps = 3")

    run(project, counting(3), passed=1)


def test_the_option_wins_over_the_ini_file(project):
    project.makeini("[pytest]\ntrainstep_steps = 3")

    run(project, counting(2), "--trainstep-steps=2", passed=1)


def test_the_marker_wins_over_the_option(project):
    run(project, counting(5, "@pytest.mark.trainstep(steps=5)"), "--trainstep-steps=2", passed=1)


def test_the_call_wins_over_the_marker(project):
    source = counting(2, "@pytest.mark.trainstep(steps=5)").replace("model, step)", "model, step, steps=2)")

    run(project, source, passed=1)


def test_threads_of_a_test_see_its_settings(project):
    source = counting(3, "@pytest.mark.trainstep(steps=3)").replace(
        "    trainstep.assert_weights_update(model, step)",
        "    import concurrent.futures\n"
        "    with concurrent.futures.ThreadPoolExecutor() as pool:\n"
        "        pool.submit(trainstep.assert_weights_update, model, step).result()",
    )

    run(project, source, passed=1)


# Which parameters are judged.

HEAD_ONLY = (
    ONLY_THE_HEAD
    + """
def test_head(trainstep):
    trainstep.assert_weights_update(model, step)
"""
)


def test_what_nobody_excuses_fails(project):
    run(project, HEAD_ONLY, failed=1).stdout.fnmatch_lines(["E*WeightsNotUpdated: not-in-optimizer: *"])


@pytest.mark.parametrize("excuse", ["frozen=['body.*']", "only=['head.*']", "frozen=('body.weight', '*.bias')"])
def test_the_marker_excuses(project, excuse):
    run(project, f"{HEAD_ONLY}\ntest_head = pytest.mark.trainstep({excuse})(test_head)", passed=1)


@pytest.mark.parametrize("table", TABLES)
def test_the_ini_file_excuses_for_a_whole_suite(project, table):
    project.makepyprojecttoml(f'{table}\ntrainstep_frozen = ["body.*", "of another model.*"]')

    run(project, HEAD_ONLY, passed=1)


def test_a_pattern_of_the_marker_must_match_something(project):
    result = run(project, f"{HEAD_ONLY}\ntest_head = pytest.mark.trainstep(frozen=['boddy.*'])(test_head)", failed=1)

    result.stdout.fnmatch_lines(["E*TrainStepUsageError: *boddy.*"])


def test_markers_of_module_class_and_test_add_up_and_the_closest_wins(project):
    run(
        project,
        ONLY_THE_HEAD
        + """
pytestmark = pytest.mark.trainstep(frozen=["body.*"], steps=7)

@pytest.mark.trainstep(steps=2)
class TestHead:
    def test_two(self, trainstep):
        calls.clear()
        trainstep.assert_weights_update(model, step)
        assert len(calls) == 2

    @pytest.mark.trainstep(steps=3)
    def test_three(self, trainstep):
        calls.clear()
        trainstep.assert_weights_update(model, step)
        assert len(calls) == 3
""",
        passed=2,
    )


def test_the_smallest_update_that_counts_can_be_set(project):
    source = MODEL + "\ndef test_it(trainstep): trainstep.assert_weights_update(model, step)\n"

    run(project, source, "--trainstep-min-update=1e-9", passed=1)
    run(project, source, "--trainstep-min-update=1e9", failed=1)


# Seeds.

SEEDED = """
import random

import numpy
import pytest
import torch

def draw():
    return random.random(), numpy.random.rand(), torch.rand(1).item()

{mark}
def test_streams(trainstep_seed):
    drawn = draw()
    assert trainstep_seed == {expected}
    random.seed(trainstep_seed)
    numpy.random.seed(trainstep_seed)
    torch.manual_seed(trainstep_seed)
    assert (drawn == draw()) is {is_seeded}
"""


def seeded(expected, *, is_seeded=True, mark=""):
    return SEEDED.format(expected=expected, is_seeded=is_seeded, mark=mark)


def test_nobody_is_seeded_who_does_not_ask(project):
    run(project, seeded(0, is_seeded=False), passed=1)


def test_seed_zero_is_a_seed(project):
    run(project, seeded(0), "--trainstep-seed=0", passed=1)


def test_the_option_seeds(project):
    run(project, seeded(3), "--trainstep-seed=3", passed=1)


@pytest.mark.parametrize("table", TABLES)
def test_the_ini_file_seeds_in_both_tables(project, table):
    project.makepyprojecttoml(f"{table}\ntrainstep_seed = 4")

    run(project, seeded(4), passed=1)


def test_the_environment_wins_over_the_ini_file(project, monkeypatch):
    project.makeini("[pytest]\ntrainstep_seed = 4")
    monkeypatch.setenv("TRAINSTEP_SEED", "5")

    run(project, seeded(5), passed=1)


def test_the_option_wins_over_the_environment(project, monkeypatch):
    monkeypatch.setenv("TRAINSTEP_SEED", "5")

    run(project, seeded(6), "--trainstep-seed=6", passed=1)


def test_the_marker_seeds_its_own_test_and_its_fixture(project):
    source = seeded(7, mark="@pytest.mark.trainstep(seed=7)")

    run(project, source, "--trainstep-seed=6", passed=1).stdout.no_fnmatch_line("*test_streams[[]*")
    run(project, source, "-v", passed=1).stdout.fnmatch_lines(["*::test_streams PASSED*"])


def test_fixtures_build_their_models_from_the_seed(project):
    run(
        project,
        """
import pytest, torch

@pytest.fixture
def model():
    return torch.nn.Linear(2, 2)

@pytest.mark.parametrize("again", range(2))
def test_weights(model, again):
    torch.manual_seed(1)
    assert torch.equal(model.weight, torch.nn.Linear(2, 2).weight)
""",
        "--trainstep-seed=1",
        passed=2,
    )


# Devices.

DEVICE = "\ndef test_device(trainstep_device):\n    assert trainstep_device.type == 'cpu'\n"


def test_the_device_is_the_cpu_when_nobody_says_otherwise(project):
    run(project, DEVICE, "-v", passed=1).stdout.fnmatch_lines(["*::test_device PASSED*"])


def test_a_device_this_machine_has_not_is_skipped_with_the_reason(project, monkeypatch):
    monkeypatch.setattr("pytest_trainstep._devices.present", lambda: ("cpu",))

    result = run(project, DEVICE, "--trainstep-device=xpu", "-rs", skipped=1)

    result.stdout.fnmatch_lines(["SKIPPED*trainstep_device: this machine has no xpu, only cpu"])


def test_several_devices_run_a_test_once_each_by_name(project, monkeypatch):
    monkeypatch.setattr("pytest_trainstep._devices.present", lambda: ("cpu",))

    result = run(project, DEVICE, "--trainstep-device=cpu", "--trainstep-device=cuda", "-v", passed=1, skipped=1)

    result.stdout.fnmatch_lines(["*::test_device[[]cpu[]] PASSED*", "*::test_device[[]cuda[]] SKIPPED*"])


@pytest.mark.parametrize("present", [("cpu",), ("cpu", "mps")], ids="-".join)
def test_all_are_those_that_are_present(project, monkeypatch, present):
    monkeypatch.setattr("pytest_trainstep._devices.present", lambda: present)
    source = DEVICE.replace("== 'cpu'", f"in {present}")

    run(project, source, "--trainstep-device=all", passed=len(present))


@pytest.mark.parametrize(("present", "chosen"), [(("cpu",), "cpu"), (("cpu", "mps"), "mps")], ids=["none", "mps"])
def test_auto_is_an_accelerator_where_there_is_one(project, monkeypatch, present, chosen):
    monkeypatch.setattr("pytest_trainstep._devices.present", lambda: present)

    run(project, DEVICE.replace("'cpu'", f"'{chosen}'"), "--trainstep-device=auto", passed=1)


@pytest.mark.parametrize("table", TABLES)
def test_the_ini_file_names_devices_in_both_tables(project, monkeypatch, table):
    monkeypatch.setattr("pytest_trainstep._devices.present", lambda: ("cpu",))
    project.makepyprojecttoml(f'{table}\ntrainstep_device = ["cpu", "mps"]')

    run(project, DEVICE, passed=1, skipped=1)


@pytest.mark.parametrize("said", ["cpu,mps", "cpu mps"])
def test_the_environment_names_devices(project, monkeypatch, said):
    monkeypatch.setattr("pytest_trainstep._devices.present", lambda: ("cpu",))
    monkeypatch.setenv("TRAINSTEP_DEVICE", said)

    run(project, DEVICE, passed=1, skipped=1)


def test_a_test_that_picks_its_own_devices_keeps_them(project):
    source = "import pytest\n@pytest.mark.parametrize('trainstep_device', ['cpu'], indirect=True)" + DEVICE

    run(project, source, "--trainstep-device=cpu", "--trainstep-device=cuda", passed=1)


def test_without_torch_a_test_for_a_device_is_skipped(project, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch", None)

    result = run(project, DEVICE, "-rs", skipped=1)

    result.stdout.fnmatch_lines(["SKIPPED*trainstep_device: torch is not installed"])


# Fixtures and Hypothesis.


def test_fixtures_live_with_given(project):
    run(
        project,
        MODEL
        + """
from hypothesis import given, settings, strategies as st

@settings(deadline=None, max_examples=3)
@given(st.floats(0.1, 1))
def test_any_rate(trainstep, trainstep_device, trainstep_seed, lr):
    optimizer.param_groups[0]["lr"] = lr
    trainstep.assert_weights_update(model.to(trainstep_device), step)

@pytest.mark.trainstep(seed=5)
@settings(deadline=None, max_examples=3)
@given(st.integers())
def test_marked(trainstep_seed, number):
    assert trainstep_seed == 5
""",
        "--trainstep-seed=2",
        passed=2,
    )


def test_the_namespace_prints_as_its_name(project):
    run(project, "def test_repr(trainstep): assert repr(trainstep) == 'trainstep'", passed=1)


def test_a_session_fixture_may_use_every_fixture(project):
    run(
        project,
        """
import pytest

@pytest.fixture(scope="session")
def mine(trainstep, trainstep_device, trainstep_seed):
    return trainstep_device.type, trainstep_seed

def test_plain(mine): assert mine == ("cpu", 0)

@pytest.mark.trainstep(seed=3)
def test_marked(mine): assert mine == ("cpu", 3)
""",
        passed=2,
    )


def test_fixtures_say_what_they_are_for(project):
    project.runpytest_inprocess("--fixtures").stdout.fnmatch_lines(
        [
            "trainstep [[]session scope[]] -- *",
            "    Every training-step assertion, and ``watch``, without an import.",
            "trainstep_device [[]session scope[]] -- *",
            "trainstep_seed [[]session scope[]] -- *",
        ]
    )


# What is said wrongly.

DEVICES = "valid are auto, cpu, cuda, mps, xpu, all"
SEEDS = "valid are the whole numbers from 0 to 2[*][*]32 - 1"


@pytest.mark.parametrize(
    ("argument", "complaint"),
    [
        ("--trainstep-device=gpu", f"*--trainstep-device: unknown device 'gpu'; {DEVICES}"),
        ("--trainstep-seed=-1", f"*--trainstep-seed: '-1' is no seed; {SEEDS}"),
        ("--trainstep-seed=many", f"*--trainstep-seed: 'many' is no seed; {SEEDS}"),
        ("--trainstep-seed=4294967296", f"*--trainstep-seed: '4294967296' is no seed; {SEEDS}"),
        ("--trainstep-steps=0", "*--trainstep-steps: '0' is no number of steps; valid are the whole numbers from 1"),
        ("--trainstep-steps=1.5", "*--trainstep-steps: '1.5' is no number of steps; *"),
        ("--trainstep-min-update=-1", "*--trainstep-min-update: '-1' is no update ratio; valid are the numbers from 0"),
        ("--trainstep-min-update=nan", "*--trainstep-min-update: 'nan' is no update ratio; *"),
        ("--trainstep-min-update=tiny", "*--trainstep-min-update: 'tiny' is no update ratio; *"),
    ],
)
def test_a_wrong_option_is_a_usage_error(project, argument, complaint):
    usage_error(project, argument).fnmatch_lines([complaint])


@pytest.mark.parametrize(
    ("variable", "value", "complaint"),
    [
        ("TRAINSTEP_DEVICE", "cpu,gpu", f"ERROR: TRAINSTEP_DEVICE: unknown device 'gpu'; {DEVICES}"),
        ("TRAINSTEP_SEED", "x", f"ERROR: TRAINSTEP_SEED: 'x' is no seed; {SEEDS}"),
    ],
)
def test_a_wrong_environment_is_a_usage_error(project, monkeypatch, variable, value, complaint):
    monkeypatch.setenv(variable, value)

    usage_error(project).fnmatch_lines([complaint])


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("trainstep_device = ['gpu']", f"ERROR: ini key trainstep_device: unknown device 'gpu'; {DEVICES}"),
        ("trainstep_seed = -1", f"ERROR: ini key trainstep_seed: '-1' is no seed; {SEEDS}"),
        ("trainstep_seed = 'x'", "ERROR: *"),
        ("trainstep_steps = 0", "ERROR: ini key trainstep_steps: '0' is no number of steps; *"),
        ("trainstep_min_update = -0.5", "ERROR: ini key trainstep_min_update: '-0.5' is no update ratio; *"),
    ],
)
@pytest.mark.parametrize("table", TABLES)
def test_a_wrong_ini_key_is_a_usage_error(project, table, line, complaint):
    project.makepyprojecttoml(f"{table}\n{line}")

    usage_error(project).fnmatch_lines([complaint])


def test_a_slip_in_the_ini_file_is_not_hidden_by_an_option(project):
    project.makeini("[pytest]\ntrainstep_steps = 0")

    usage_error(project, "--trainstep-steps=1").fnmatch_lines(["ERROR: ini key trainstep_steps: *"])


MARKS = [
    ("stepz=3", "unknown keyword 'stepz'; valid are steps, frozen, only, seed, audit, mutate, reason"),
    ("3", "takes keywords only, not (3,); valid are steps, frozen, only, seed, audit, mutate, reason"),
    ("steps=0", "'0' is no number of steps; valid are the whole numbers from 1"),
    ("steps=True", "'True' is no number of steps; *"),
    ("seed='x'", f"'x' is no seed; {SEEDS}"),
    ("frozen='body.*'", "'body.[*]' is no list of patterns; valid is for example [[]'head.[*]'[]]"),
    ("only=[1]", "[[]1[]] is no list of patterns; *"),
]


@pytest.mark.parametrize(("arguments", "complaint"), MARKS, ids=[arguments for arguments, _ in MARKS])
def test_a_wrong_marker_is_a_usage_error_before_any_test_runs(project, arguments, complaint):
    project.makepyfile(
        test_it=f"""
import pytest

def test_first():
    open("it ran", "w")

@pytest.mark.trainstep({arguments})
def test_second(trainstep_seed): ...
"""
    )

    usage_error(project).fnmatch_lines([f"ERROR: test_it.py::test_second: marker trainstep: {complaint}"])
    assert not project.path.joinpath("it ran").exists()


def test_a_wrong_marker_stops_a_distributed_run_too(project):
    project.makepyfile(
        test_it="import pytest\n@pytest.mark.trainstep(stepz=3)\ndef test_it(): ...\ndef test_other(): ..."
    )

    result = project.runpytest_subprocess("-n1", "-p", "no:cacheprovider")

    assert result.ret != 0
    result.stdout.fnmatch_lines(
        ["*marker trainstep: unknown keyword 'stepz'; valid are steps, frozen, only, seed, audit, mutate, reason*"]
    )


def test_the_marker_is_known_to_strict_suites(project):
    source = "import pytest\n@pytest.mark.trainstep(steps=2)\ndef test_it(): ..."

    run(project, source, "--strict-markers", passed=1)
    project.runpytest_inprocess("--markers").stdout.fnmatch_lines(
        ["@pytest.mark.trainstep([*], steps, frozen, only, seed, audit, mutate, reason): *"]
    )


# What is printed.


def test_the_help_lists_every_option_and_ini_key(project):
    project.runpytest_inprocess("--help").stdout.fnmatch_lines(
        [
            "training-step assertions:",
            "  --trainstep-device=NAME*",
            "  --trainstep-seed=INT*",
            "  --trainstep-steps=INT*",
            "  --trainstep-min-update=RATIO*",
            "  --trainstep-explain=[[]CAUSE[]]*",
            "  trainstep_device (args):*",
            "  trainstep_seed (int):*",
            "  trainstep_steps (int):*",
            "  trainstep_min_update (float):*",
            "  trainstep_frozen (linelist):*",
        ]
    )


def test_the_header_is_silent_unless_something_was_asked(project):
    run(project, "def test_it(): ...").stdout.no_fnmatch_line("trainstep: *")
    run(project, "def test_it(): ...", "-v").stdout.fnmatch_lines(["trainstep: torch *, device cpu, no seed"])
    run(project, "def test_it(): ...", "--trainstep-seed=3", "--trainstep-device=mps").stdout.fnmatch_lines(
        ["trainstep: torch *, device mps, seed 3"]
    )


def test_explain_without_a_name_lists_the_causes(project):
    result = project.runpytest_inprocess("--trainstep-explain")

    assert result.ret == 0
    result.stdout.fnmatch_lines(["*no-step*", "*stale-optimizer*", "*unexplained*"])
    result.stdout.no_fnmatch_line("collected *")


def test_explain_prints_the_entry_and_runs_nothing(project):
    project.makepyfile("def test_it(): raise SystemExit")

    result = project.runpytest_inprocess("--trainstep-explain", "lr-zero")

    assert result.ret == 0
    result.stdout.fnmatch_lines(["*lr-zero*"])
    result.stdout.no_fnmatch_line("*collected*")


@pytest.mark.parametrize(
    ("name", "hint"), [("lr-zer", "; did you mean lr-zero*? "), ("xyzzy", " ")], ids=["near", "far"]
)
def test_explain_refuses_an_unknown_cause_and_says_how_to_go_on(project, name, hint):
    usage_error(project, f"--trainstep-explain={name}").fnmatch_lines(
        [f"ERROR: --trainstep-explain: no cause is called '{name}'{hint}(without a name, all are listed)"]
    )


def test_a_failed_claim_points_at_the_line_of_the_user(project):
    project.makepyfile(test_it=HEAD_ONLY)
    line = 1 + HEAD_ONLY.strip().splitlines().index("    trainstep.assert_weights_update(model, step)")

    result = project.runpytest_inprocess("--tb=short")

    result.stdout.fnmatch_lines([f"test_it.py:{line}: in test_head"])
    result.stdout.no_fnmatch_line("*pytest_trainstep/*.py:*: in *")


# What stays behind.


def test_without_the_plugin_nothing_of_it_is_there(project):
    source = """
import sys

def test_it(request):
    assert not [finder for finder in sys.meta_path if "pytest_trainstep" in type(finder).__module__]
    assert "pytest_trainstep.plugin" not in sys.modules
"""
    project.makepyfile(source)

    project.runpytest_subprocess("-p", "no:trainstep").assert_outcomes(passed=1)


def test_an_inner_session_leaves_the_outer_one_as_it_was(project):
    import sys

    import torch

    before = list(sys.meta_path), torch.optim.Optimizer.__init__

    run(project, "def test_it(): ...", passed=1)

    assert before == (list(sys.meta_path), torch.optim.Optimizer.__init__)


BIRTH = """
def test_birthplace():
    import torch

    from pytest_trainstep import watch

    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(torch.nn.Linear(2, 1).parameters(), lr=0.1)
    with watch(model) as watched:
        model(torch.ones(1, 2)).sum().backward()
        optimizer.step()
    watched.assert_weights_update()

def test_look():
    assert "torch" in __import__("sys").modules
"""


@pytest.mark.parametrize("arguments", [(), ("-n1",)], ids=["alone", "xdist"])
def test_the_birthplace_of_an_optimizer_is_known_when_a_test_imports_torch_itself(project, arguments):
    project.makepyfile(test_it=BIRTH)

    result = project.runpytest_subprocess("-p", "no:cacheprovider", *arguments)

    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*because: *built at *test_it.py:7*"])


def test_a_recorder_that_fails_is_a_note_and_no_failure(project, monkeypatch):
    from pytest_trainstep import _torch_import

    def broken():
        raise RuntimeError("no such attribute")

    monkeypatch.setattr("pytest_trainstep._watch.origins.install", broken)
    monkeypatch.setattr(_torch_import, "notes", [])

    result = run(project, "def test_it(): ...", passed=1)

    result.stdout.fnmatch_lines(
        ["*= trainstep =*", "watching torch being imported failed: RuntimeError: no such attribute"]
    )
