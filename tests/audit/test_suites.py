"""The audit from outside: suites of all kinds are run with it, and outcomes and reports are read."""

import json

import pytest

pytest.importorskip("torch._dynamo")
pytest.importorskip("hypothesis.internal.entropy")
# These too: a module that only an inner run imports cannot be patched from here.
pytest.importorskip("pytest_trainstep._watch.overhear")
pytest.importorskip("pytest_trainstep._audit.ledger")

HEAD = """
import pytest
import torch

def train(lr=0.1, steps=2, clear=False):
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.ones(3, 2)).sum().backward()
        if clear:
            optimizer.zero_grad()
        optimizer.step()
    return model

def stuck():
    return train(clear=True)
"""


@pytest.fixture
def project(pytester, monkeypatch):
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    return pytester


def run(project, source, *arguments, subprocess=False, **outcomes):
    """Run a suite under the audit; return the result and the tests of the JSON report by name."""
    project.makepyfile(test_it=HEAD + source)
    start = project.runpytest_subprocess if subprocess else project.runpytest_inprocess
    result = start("-p", "no:cacheprovider", "--trainstep-audit", "--trainstep-report=audit.json", *arguments)
    assert {name: count for name, count in result.parseoutcomes().items() if name != "warnings"} == outcomes
    report = json.loads(project.path.joinpath("audit.json").read_text())
    return result, {test["id"].rpartition("::")[2]: test for test in report["tests"]}, report


def causes(test):
    return [cause for finding in test["findings"] for cause in finding["causes"]]


# What is asked for.


def test_nothing_is_registered_unless_asked_for(project):
    source = """
def test_it(request):
    names = [name for name, _ in request.config.pluginmanager.list_name_plugin()]
    assert not [name for name in names if name in ("trainstep-listener", "trainstep-ledger")]
"""
    project.makepyfile(source)

    project.runpytest_inprocess().assert_outcomes(passed=1)


@pytest.mark.still
@pytest.mark.parametrize("value", ["report", "fail"])
def test_the_ini_file_switches_it_on(project, value):
    project.makeini(f"[pytest]\ntrainstep_audit = {value}")
    project.makepyfile(HEAD + "def test_it(): stuck()")

    result = project.runpytest_inprocess()

    result.assert_outcomes(**{"passed" if value == "report" else "failed": 1})
    result.stdout.fnmatch_lines(["*= trainstep audit =*"])


@pytest.mark.parametrize(
    ("ini", "argument", "complaint"),
    [
        ("loud", "-q", "ERROR: ini key trainstep_audit: 'loud' is no mode of the audit; valid are off, report, fail"),
        (
            "off",
            "--trainstep-audit=tests",
            "*--trainstep-audit: 'tests' is no mode of the audit; valid are off, report, fail *",
        ),
        ("off", "--trainstep-report=a.txt", "ERROR: --trainstep-report: 'a.txt' is no kind of report; valid are *"),
    ],
)
def test_what_is_said_wrongly_is_a_usage_error(project, ini, argument, complaint):
    project.makeini(f"[pytest]\ntrainstep_audit = {ini}")

    result = project.runpytest_inprocess(argument)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([complaint])


def test_a_healthy_suite_says_nothing_unless_asked(project):
    result, tests, _ = run(project, "def test_it(): train()", passed=1)
    result.stdout.no_fnmatch_line("*trainstep audit =*")
    assert tests["test_it"]["steps"] == 2
    assert tests["test_it"]["noop_steps"] == 0

    result, _, _ = run(project, "def test_it(): train()", "-v", passed=1)
    result.stdout.fnmatch_lines(["1 test trained: 2 optimizer steps, 0 without any update. Nothing found."])


def test_a_suite_without_torch_stays_without_it(project):
    project.makepyfile("import sys\ndef test_it(): assert 'torch' not in sys.modules")

    result = project.runpytest_subprocess("-p", "no:hypothesispytest", "--trainstep-report=a.html", "-v")

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["0 tests trained: *"])


# The mode `fail`.

FAILING = "def test_stuck():\n    stuck()\n\ndef test_fine():\n    train()\n"


def test_fail_turns_it_into_a_failure_at_the_line_of_the_step(project):
    result, tests, _ = run(project, FAILING, "--trainstep-audit=fail", failed=1, passed=1)

    line = 1 + HEAD.strip().splitlines().index("        optimizer.step()")
    result.stdout.fnmatch_lines(
        [
            ">* optimizer.step()",
            "E*WeightsNotUpdated: gradients-cleared: SGD (built at *) updated nothing in 2 steps of this test",
            "E*because: gradients arrived and were cleared*",
            'E*on purpose? mark the test: @pytest.mark.trainstep(audit="off", reason="...")',
            f"test_it.py:{line}: WeightsNotUpdated",
            "FAILED test_it.py::test_stuck - pytest_trainstep.WeightsNotUpdated: gradients*",
        ]
    )
    assert tests["test_stuck"]["outcome"] == "failed"


@pytest.mark.still
def test_fail_shows_a_doctest_the_finding_and_no_frames(project):
    source = '''
def documented():
    """
    >>> _ = stuck()
    """
'''
    result, tests, _ = run(project, source, "--doctest-modules", "--trainstep-audit=fail", failed=1)

    assert causes(tests["test_it.documented"]) == ["gradients-cleared"]
    result.stdout.fnmatch_lines(["gradients-cleared: SGD*", "because: *", "FAILED test_it.py::test_it.documented - *"])
    result.stdout.fnmatch_lines(["on purpose? a doctest has no decorators: in pytest_collection_modifyitems*"])
    result.stdout.no_fnmatch_line("*def _multicall*")
    result.stdout.no_fnmatch_line("*listener.py*")


@pytest.mark.still
def test_a_doctest_is_excused_as_its_failure_says(project):
    project.makeconftest("""
import pytest

def pytest_collection_modifyitems(items):
    for item in items:
        item.add_marker(pytest.mark.trainstep(audit="off", reason="shows the order that is wrong"))
""")
    source = '''
def documented():
    """
    >>> _ = stuck()
    """
'''
    _, tests, _ = run(project, source, "--doctest-modules", "--trainstep-audit=fail", passed=1)

    assert tests["test_it.documented"]["excuse"] == "shows the order that is wrong"


def test_report_never_changes_an_outcome(project):
    run(project, FAILING, passed=2)


def test_fail_looks_at_what_updates_and_not_at_other_findings(project):
    source = """
def test_piles_up():
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        model(torch.ones(3, 2)).sum().backward()
        optimizer.step()
"""
    _, tests, _ = run(project, source, "--trainstep-audit=fail", passed=1)

    assert causes(tests["test_piles_up"]) == ["gradients-not-cleared"]


def test_an_excuse_is_heard_and_one_that_no_longer_applies_is_told(project):
    source = """
excused = pytest.mark.trainstep(audit="off", reason="tests the clearing itself")

@excused
def test_stuck(): stuck()

@excused
def test_fine(): train()
"""
    result, tests, report = run(project, source, "--trainstep-audit=fail", passed=2)

    assert tests["test_stuck"]["excuse"] == "tests the clearing itself"
    assert tests["test_stuck"]["findings"] == []
    assert report["unneeded_excuses"] == ["test_it.py::test_fine"]
    result.stdout.fnmatch_lines(["the excuse of test_it.py::test_fine no longer applies: nothing was found in it"])


@pytest.mark.parametrize(
    "words",
    [
        *("audit='off'", "reason='why'", "audit='on', reason='why'", "audit='off', reason=' '"),
        *("mutate='off'", "mutate='noop-step', reason='why'"),
    ],
)
def test_half_an_excuse_is_a_usage_error(project, words):
    project.makepyfile(f"import pytest\n@pytest.mark.trainstep({words})\ndef test_it(): ...")

    assert project.runpytest_inprocess().ret == pytest.ExitCode.USAGE_ERROR


# Suites of all kinds.


def test_fixtures_of_a_wide_scope_have_a_row_of_their_own(project):
    source = """
@pytest.fixture(scope="module")
def model():
    return stuck()

def test_first(model): ...
def test_second(model): train()
"""
    _, tests, report = run(project, source, passed=2)

    assert sorted(tests) == ["model (module fixture)", "test_second"]
    assert causes(tests["model (module fixture)"]) == ["gradients-cleared"]
    assert report["totals"]["fixtures"] == 1


def test_a_fixture_has_a_row_for_each_of_its_parameters_and_of_those_it_uses(project):
    source = """
class Loud:
    clear = True

@pytest.fixture(scope="session", params=[0.1, 0.0], ids=["fast", "still"])
def lr(request):
    return request.param

@pytest.fixture(scope="module", params=[Loud])
def model(request, lr):
    return train(lr=lr, clear=request.param.clear and not lr)

@pytest.fixture(scope="module")
def head(model):
    return train()

def test_first(head): ...
def test_second(head): ...
"""
    _, tests, report = run(project, source, passed=4)

    assert sorted(tests) == [
        "head[fast-model0] (module fixture)",
        "head[still-model0] (module fixture)",
        "model[fast-model0] (module fixture)",
        "model[still-model0] (module fixture)",
    ]
    assert [name for name, test in tests.items() if test["findings"]] == ["model[still-model0] (module fixture)"]
    assert report["totals"]["steps"] == 8


def test_fixtures_of_a_function_belong_to_their_test_setup_and_teardown(project):
    source = """
@pytest.fixture
def model():
    yield train()
    train(steps=3)

def test_it(model): ...
"""
    _, tests, _ = run(project, source, passed=1)

    assert tests["test_it"]["steps"] == 5


@pytest.mark.still
def test_training_in_a_teardown_that_updates_nothing_fails_the_teardown(project):
    source = """
@pytest.fixture
def late():
    yield
    stuck()

def test_it(late): ...
"""
    result, _, _ = run(project, source, "--trainstep-audit=fail", passed=1, errors=1)

    result.stdout.fnmatch_lines(["ERROR test_it.py::test_it*gradients-cleared*"])


def test_a_property_is_one_line_with_its_worst_example(project):
    source = """
from hypothesis import given, settings, strategies as st

@given(st.booleans())
@settings(database=None, deadline=None)
def test_property(clear):
    train(clear=clear)
"""
    _, tests, _ = run(project, source, passed=1)

    assert causes(tests["test_property"]) == ["gradients-cleared"]
    assert len(tests["test_property"]["optimizers"]) == 2


def test_a_property_fails_if_none_of_its_examples_moves_anything(project):
    source = """
from hypothesis import given, settings, strategies as st

@given(st.booleans())
@settings(database=None, deadline=None)
def test_some(clear):
    train(clear=clear)

@given(st.booleans())
@settings(database=None, deadline=None)
def test_none(clear):
    train(clear=clear, lr=0.0)
"""
    result, tests, _ = run(project, source, "--trainstep-audit=fail", passed=1, failed=1)

    result.stdout.fnmatch_lines(["FAILED test_it.py::test_none - *"])
    assert [finding["fails"] for finding in tests["test_some"]["findings"]] == [False]


def test_unittest_classes_subtests_and_doctests(project):
    source = '''
import unittest

class Unit(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        stuck()

    def test_parts(self):
        for clear in (False, True):
            with self.subTest(clear=clear):
                train(clear=clear)

def documented():
    """
    >>> _ = stuck()
    """
'''
    _, tests, _ = run(project, source, "--doctest-modules", passed=2)

    assert causes(tests["test_parts"]) == ["gradients-cleared"]
    assert causes(tests["test_it.documented"]) == ["gradients-cleared"]
    assert [name for name in tests if name.endswith("(class fixture)")]


@pytest.mark.still
def test_a_watch_of_the_test_itself_does_not_deafen_the_audit(project):
    source = """
from pytest_trainstep import watch

def test_it():
    model = torch.nn.Linear(2, 1)
    with watch(model) as watched:
        stuck()
"""
    _, tests, _ = run(project, source, passed=1)

    assert causes(tests["test_it"]) == ["gradients-cleared"]


@pytest.mark.still
def test_other_threads_belong_to_the_test_that_started_them(project):
    source = """
from concurrent.futures import ThreadPoolExecutor

def test_it():
    with ThreadPoolExecutor() as pool:
        pool.submit(stuck).result()
"""
    _, tests, _ = run(project, source, passed=1)

    assert causes(tests["test_it"]) == ["gradients-cleared"]


def test_torch_imported_in_the_body_of_a_test_is_heard(project):
    project.makepyfile(
        test_it="def test_it():\n" + "".join(f"    {line}\n" for line in (HEAD + "\nstuck()").splitlines())
    )

    result = project.runpytest_subprocess("-p", "no:cacheprovider", "--trainstep-audit")

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*gradients-cleared: SGD*"])


def test_a_run_that_stops_early_is_told_from_a_whole_one(project):
    _, tests, report = run(project, "def test_a(): train(); assert 0\ndef test_b(): train()", "-x", failed=1)

    assert list(tests) == ["test_a"]
    assert tests["test_a"]["outcome"] == "failed"
    assert report["complete"] is False
    assert run(project, "def test_b(): train()", passed=1)[2]["complete"] is True


@pytest.mark.still
def test_without_a_terminal_the_files_are_written_all_the_same(project):
    project.makepyfile(HEAD + "def test_it(): stuck()")

    assert project.runpytest_inprocess("-p", "no:terminal", "--trainstep-report=a.md").ret == 0

    assert "gradients-cleared" in project.path.joinpath("a.md").read_text()


def test_the_last_attempt_of_a_rerun_counts(project):
    pytest.importorskip("pytest_rerunfailures")
    source = """
tries = []

def test_it():
    tries.append(1)
    train(clear=len(tries) < 3)
    assert len(tries) == 3
"""
    _, tests, _ = run(project, source, "--reruns=2", passed=1, rerun=2)

    assert tests["test_it"]["attempts"] == 3
    assert tests["test_it"]["findings"] == []


def test_a_crashed_worker_is_told(project):
    source = "import os\ndef test_crash(): os._exit(1)\ndef test_stuck(): stuck()"
    result, tests, report = run(project, source, "-n1", subprocess=True, failed=1, passed=1)

    assert causes(tests["test_stuck"]) == ["gradients-cleared"]
    assert report["lost"] == {"count": 1, "ids": ["test_it.py::test_crash"]}
    result.stdout.fnmatch_lines(["not observed: 1 test whose worker crashed (test_it.py::test_crash)"])


def test_distribution_by_scope(project):
    _, tests, _ = run(project, FAILING, "-n2", "--dist=loadscope", subprocess=True, passed=2)

    assert causes(tests["test_stuck"]) == ["gradients-cleared"]


def test_a_failing_fixture_is_shown_without_our_frames(project):
    source = """
@pytest.fixture(scope="module")
def broken():
    raise ValueError("of the user's")

def test_it(broken): ...
"""
    result, _, _ = run(project, source, "--tb=short", errors=1)

    result.stdout.no_fnmatch_line("*listener.py*")


@pytest.mark.still
def test_properties_reach_junit(project):
    run(project, "def test_it(): stuck()", "--junitxml=junit.xml", passed=1)

    text = project.path.joinpath("junit.xml").read_text()
    assert '<property name="trainstep.audit.steps" value="2" />' in text
    assert '<property name="trainstep.audit.causes" value="gradients-cleared" />' in text


def test_pytest_html_shows_the_finding_and_its_picture(project):
    pytest.importorskip("pytest_html")

    run(project, "def test_it(): stuck()", "--html=page.html", "--self-contained-html", passed=1)

    text = project.path.joinpath("page.html").read_text()
    assert "gradients-cleared" in text
    assert "log10 of update / weight" in text


def test_without_a_page_of_pytest_html_no_picture_is_drawn(project):
    pytest.importorskip("pytest_html")
    source = """
def test_it(request):
    assert not request.config.pluginmanager.get_plugin("trainstep-listener")._pictures
"""
    project.makepyfile(test_it=source)

    project.runpytest_inprocess("--trainstep-audit").assert_outcomes(passed=1)


def test_complex_weights_are_compared(project):
    source = """
@pytest.mark.parametrize("lr", [0.0, 0.1])
def test_it(lr):
    weight = torch.nn.Parameter(torch.ones(3, dtype=torch.complex64))
    optimizer = torch.optim.SGD([weight], lr=lr)
    for _ in range(2):
        optimizer.zero_grad()
        (weight * weight.conj()).real.sum().backward()
        optimizer.step()
"""
    _, tests, report = run(project, source, passed=2)

    assert report["notes"] == []
    assert [tests[f"test_it[{lr}]"]["noop_steps"] for lr in ("0.0", "0.1")] == [2, 0]
    assert causes(tests["test_it[0.0]"]) == ["lr-zero"]
    assert not causes(tests["test_it[0.1]"])


def test_an_optimizer_that_only_drives_a_schedule_is_none_that_should_train(project):
    source = """
@pytest.mark.parametrize("wrap", [list, torch.nn.ParameterList])
def test_it(wrap):
    clock = torch.optim.SGD(wrap([torch.nn.Parameter(torch.zeros(1))]), lr=0.5)  # drives a schedule, trains nothing
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(clock, 10)
    train()
    clock.step()
    schedule.step()
"""
    _, tests, report = run(project, source, "--trainstep-audit=fail", passed=2)

    assert [causes(test) for test in tests.values()] == [[], []]
    assert report["totals"]["noop_steps"] == 2


COPIES = "[weight.detach().clone().requires_grad_() for weight in model.parameters()]"


@pytest.mark.still
@pytest.mark.parametrize(("held", "cause"), [(COPIES, "stale-optimizer"), ("[number]", "detached")])
def test_an_optimizer_of_copies_or_of_a_number_in_use_is_no_schedule(project, held, cause):
    source = f"""
def test_it():
    number = torch.nn.Parameter(torch.zeros(1))
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD({held}, lr=0.1)
    model(torch.ones(3, 2)).sum().backward()
    optimizer.step()
"""
    _, tests, _ = run(project, source, passed=1)

    assert causes(tests["test_it"]) == [cause]


@pytest.mark.parametrize("how", ["weight.register_post_accumulate_grad_hook(update)", "by_hand = True", "..."])
def test_weights_that_are_written_without_a_step_are_not_forgotten_by_their_optimizer(project, how):
    source = f"""
@torch.no_grad()
def update(weight):
    weight.sub_(weight.grad)

def test_it():
    by_hand = False
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    {how}
    for _ in range(2):
        weight.sum().backward()
        if by_hand:
            update(weight)
"""
    _, tests, _ = run(project, source, passed=1)

    assert [causes(test) for test in tests.values()] == ([["no-step"]] if how == "..." else [])


def test_a_step_that_was_mocked_for_a_while_is_not_missed(project):
    source = """
from unittest import mock

def test_it():
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with mock.patch("torch.optim.SGD.step") as step:
        model(torch.ones(3, 2)).sum().backward()
        optimizer.step()
    assert step.call_count == 1
"""
    _, tests, _ = run(project, source, passed=1)

    assert not tests


@pytest.mark.still
@pytest.mark.parametrize("norm", ["foreach=True", "foreach=False"])
def test_gradients_clipped_away_are_not_called_cleared(project, norm):
    source = f"""
def test_it():
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(-torch.ones(3, 2)).sum().backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 0.0, {norm})
    optimizer.step()
"""
    result, tests, _ = run(project, source, passed=1)

    assert causes(tests["test_it"]) == ["zero-gradient"]
    result.stdout.fnmatch_lines(["*its gradients were multiplied by 0 before SGD.step() at test_it.py:*"])


@pytest.mark.still
@pytest.mark.parametrize("by_hand", [False, True])
def test_a_gradient_that_the_step_itself_zeroes_is_not_called_zero(project, by_hand):
    source = f"""
class Centralizing(torch.optim.SGD):
    def step(self, closure=None):
        with torch.no_grad():
            for weight in self.param_groups[0]["params"]:
                weight.grad.sub_(weight.grad.mean())
        return super().step(closure)

def test_it():
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = Centralizing([weight], lr=0.1)
    if {by_hand}:
        weight.grad = torch.ones(1)
    else:
        (weight * 2).sum().backward()
    optimizer.step()
"""
    _, tests, _ = run(project, source, passed=1)

    assert causes(tests["test_it"]) == ["update-not-written"]


def test_steps_after_one_that_raised_are_counted(project):
    source = """
class Picky(torch.optim.SGD):
    ready = False

    def step(self, closure=None):
        if not self.ready:
            raise ValueError
        return super().step(closure)

def test_it():
    model = torch.nn.Linear(2, 1)
    optimizer = Picky(model.parameters(), lr=0.1)
    model(torch.ones(3, 2)).sum().backward()
    for optimizer.ready in (False, True, True):
        try:
            optimizer.step()
        except ValueError:
            assert not optimizer.ready
"""
    _, tests, _ = run(project, source, passed=1)

    assert (tests["test_it"]["steps"], tests["test_it"]["noop_steps"]) == (2, 0)


def test_groups_that_hold_nothing_yet_are_followed(project):
    source = """
def test_it():
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([{"params": []}], lr=0.1)
    optimizer.step()
    optimizer.add_param_group({"params": [weight]})
    weight.sum().backward()
    optimizer.step()
    optimizer.add_param_group({"params": []})
    optimizer.step()
"""
    _, tests, report = run(project, source, passed=1)

    assert report["notes"] == tests["test_it"]["notes"] == []
    assert (tests["test_it"]["steps"], tests["test_it"]["noop_steps"]) == (3, 1)


# Nothing of it reaches a test.

HOOKS = [
    ("pytest_trainstep._watch.overhear.Overhearer", name)
    for name in ("install", "open", "close", "so_far", "before_step", "after_step", "before_backward")
] + [
    ("pytest_trainstep._watch.overhear.Overhearer", "after_backward"),
    ("pytest_trainstep._watch.following.Following", "before_step"),
    ("pytest_trainstep._watch.following.Following", "after_step"),
    ("pytest_trainstep._watch.following.Following", "close"),
    ("pytest_trainstep._watch.kept.Kept", "take"),
    ("pytest_trainstep._watch.kept.Kept", "compare"),
    ("pytest_trainstep._audit.listener.Listener", "_begin"),
    ("pytest_trainstep._audit.listener.Listener", "_end"),
    ("pytest_trainstep._audit.listener.Listener", "_blame"),
    ("pytest_trainstep._audit.listener.Listener", "_heard"),
    ("pytest_trainstep._audit.listener.Listener", "_deliver"),
    ("pytest_trainstep._audit.spool.Spool", "add"),
    ("pytest_trainstep._audit.ledger.Ledger", "_write"),
]


@pytest.mark.parametrize(("owner", "name"), HOOKS, ids=[f"{owner.rpartition('.')[2]}.{name}" for owner, name in HOOKS])
def test_an_exception_inside_the_auditor_changes_no_outcome(project, monkeypatch, owner, name):
    def broken(*_args, **_kwargs):
        raise RuntimeError("broken inside")

    monkeypatch.setattr(f"{owner}.{name}", broken)
    project.makepyfile(HEAD + "def test_it(): train()\ndef test_no(): assert not train()\n")

    result = project.runpytest_inprocess("--trainstep-audit=fail", "--trainstep-report=a.json", "-v")

    result.assert_outcomes(passed=1, failed=1)
    result.stdout.no_fnmatch_line("INTERNALERROR*")
    result.stdout.fnmatch_lines(["*broken inside*"])
