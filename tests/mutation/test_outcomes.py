"""The second pass leaves the real run as it is: outcomes, counts, cache, JUnit, coverage, exit status."""

import json
import re
import sys

import pytest

# Before a session inside this one: it drops what it imported, and neither survives being imported twice.
pytest.importorskip("torch._dynamo")
pytest.importorskip("hypothesis.internal.entropy")

SUITE = """
    import pytest, torch
    from torch import nn

    def step():
        torch.manual_seed(0)
        model = nn.Linear(4, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        before = model.weight.detach().clone()
        model(torch.ones(1, 4)).sum().backward()
        optimizer.step()
        return model, before

    def test_sharp():
        model, before = step()
        assert not torch.equal(model.weight, before)

    def test_blind():
        step()
"""
TRAINS = """
        model = nn.Linear(4, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        before = model.weight.detach().clone()
        model(torch.ones(1, 4)).sum().backward()
        optimizer.step()
"""

COVERED = {  # a module of which only a mutant runs the last line
    "there": "def only_when_stuck():\n    return 1\n",
    "test_it": f"""
    import torch, there
    from torch import nn

    def test_it():
        {TRAINS}
        if torch.equal(model.weight, before):
            there.only_when_stuck()
            assert False
    """,
}


def run(pytester, *arguments, faults="noop-step"):
    return pytester.runpytest_inprocess(f"--trainstep-mutate={faults}", *arguments)


def run_elsewhere(pytester, *arguments):
    return pytester.runpytest_subprocess("--trainstep-mutate=noop-step", *arguments)


def test_a_survivor_is_told_with_what_to_add(pytester):
    pytester.makepyfile(test_it=SUITE)
    result = run(pytester, "-p", "no:cacheprovider")
    result.assert_outcomes(passed=2)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(
        [
            "*= trainstep mutate =*",
            "test_it.py::test_blind",
            "  green with noop-step: optimizer.step() changes no weight",
            "  fix: at test_it.py:10, put `with watch(model) as watched:` around the training, and watched.assert_weights_*",
            "fault * killed * survived * not applicable * not repeatable",
            "noop-step * 1 * 1 * 0 * 0",
            "2 tests trained and noticed 1 of 2 scored faults: 50 %.",
        ]
    )
    result.stdout.no_fnmatch_line("*test_sharp*")


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["serial", "xdist"])
def test_a_test_that_its_marker_leaves_out_is_not_run_again(pytester, workers):
    marked = '@pytest.mark.trainstep(mutate="off", reason="about a file")\n    def test_blind'
    pytester.makepyfile(test_it=SUITE.replace("def test_blind", marked))
    result = pytester.runpytest_subprocess("--trainstep-mutate=noop-step", "-v", "-p", "no:cacheprovider", *workers)
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(
        [
            "left out: test_it.py::test_blind (about a file)",
            "1 test trained and noticed 1 of 1 scored fault: 100 %.",
        ]
    )


@pytest.mark.parametrize(("percent", "status"), [("50", pytest.ExitCode.OK), ("50.1", pytest.ExitCode.TESTS_FAILED)])
def test_the_score_decides_the_exit_status_where_that_was_asked(pytester, percent, status):
    pytester.makepyfile(test_it=SUITE)
    result = run(pytester, f"--trainstep-mutate-fail-under={percent}")
    assert result.ret == status
    result.assert_outcomes(passed=2)


def test_no_score_at_all_does_not_reach_what_was_asked(pytester):
    pytester.makepyfile("def test_nothing(): pass")
    result = pytester.runpytest_inprocess("--trainstep-mutate-fail-under=1")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["No test that passed has trained*", "FAIL: --trainstep-mutate-fail-under=1*"])


def test_a_failing_run_keeps_its_exit_status_and_its_last_failed(pytester):
    pytester.makepyfile(test_it=SUITE + "\n    def test_red():\n        step()\n        assert False\n")
    result = run(pytester, "--trainstep-mutate-fail-under=0")
    result.assert_outcomes(passed=2, failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    cache = pytester.path.joinpath(".pytest_cache", "v", "cache", "lastfailed")
    assert list(json.loads(cache.read_text())) == ["test_it.py::test_red"]
    result.stdout.fnmatch_lines(["*1 more test trained and did not pass without any fault."])


def test_junit_and_durations_know_the_first_pass_only(pytester):
    pytester.makepyfile(test_it=SUITE)
    run(pytester, "--junitxml=junit.xml", "--durations=0")
    text = pytester.path.joinpath("junit.xml").read_text()
    assert text.count("<testcase ") == 2
    assert 'failures="0"' in text


def test_no_debugger_opens(pytester):
    pytester.makepyfile(test_it=SUITE)
    result = run(pytester, "--pdb")
    result.assert_outcomes(passed=2)
    result.stdout.no_fnmatch_line("*Pdb*")


def test_what_mutants_print_and_log_stays_silent(pytester):
    talk = f"""
    import logging, torch
    from torch import nn

    def test_talks():
        print("said once")
        logging.getLogger().error("logged once")
        {TRAINS}
        assert not torch.equal(model.weight, before)
    """
    pytester.makepyfile(test_it=talk)
    result = run_elsewhere(pytester, "-s", "-o", "log_cli=true")
    text = result.stdout.str()
    assert text.count("said once") == 1
    assert text.count("logged once") == 1


def test_subtests_that_fail_in_mutants_leave_no_trace(pytester):
    pytester.makepyfile(
        test_it=f"""
    import torch
    from torch import nn

    def test_sub(subtests):
        {TRAINS}
        with subtests.test("moves"):
            assert not torch.equal(model.weight, before)
    """
    )
    result = run(pytester, "-rA")
    result.stdout.fnmatch_lines(["*noticed 1 of 1 scored fault: 100 %.", "PASSED test_it.py::test_sub"])
    result.stdout.no_fnmatch_line("FAILED*")


def test_warnings_of_mutants_are_not_counted(pytester):
    warn = f"""
    import warnings, torch
    from torch import nn

    def test_warns():
        warnings.warn("careful")
        {TRAINS}
    """
    pytester.makepyfile(test_it=warn)
    run(pytester, "-W", "default").assert_outcomes(passed=1, warnings=1)


def test_coverage_measures_the_first_pass_only(pytester):
    pytest.importorskip("pytest_cov")
    pytester.makepyfile(**COVERED)
    result = run_elsewhere(pytester, "--cov=there", "--cov-context=test", "--cov-report=term-missing")
    result.assert_outcomes(passed=1)
    assert re.search(r"there\.py +2 +1 +50% +2", result.stdout.str())


def test_coverage_of_a_run_under_coverage_is_paused_and_goes_on(pytester):
    pytest.importorskip("coverage")
    pytester.makepyfile(
        **COVERED,
        conftest="def pytest_sessionfinish():\n    import there\n    assert there.only_when_stuck.__name__\n",
    )
    result = pytester.run(
        sys.executable,
        *("-m", "coverage", "run", "--include=there.py", "-m", "pytest", "--trainstep-mutate=noop-step"),
    )
    assert result.ret == 0
    report = pytester.run(sys.executable, "-m", "coverage", "report", "-m")
    assert re.search(r"there\.py +2 +1 +50% +2", report.stdout.str())


def test_a_loop_without_steps_is_stopped_by_the_clock(pytester):
    pytester.makepyfile(
        test_it="""
    import torch
    from torch import nn

    def test_waits():
        model = nn.Linear(4, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        while model.weight.grad is None:
            model(torch.ones(1, 4)).sum().backward()
        optimizer.step()
    """
    )
    result = run(pytester, faults="noop-backward")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*noticed 1 of 1 scored fault: 100 %."])


def test_the_session_may_be_ended_by_a_mutant_and_goes_on(pytester):
    pytester.makepyfile(
        test_it=f"""
    import pytest, torch
    from torch import nn

    @pytest.fixture
    def resource():
        yield
        print("given back")

    def test_exits(resource):
        {TRAINS}
        if torch.equal(model.weight, before):
            pytest.exit("no use")

    def test_after():
        {TRAINS}
        assert not torch.equal(model.weight, before)
    """
    )
    result = run(pytester)
    result.assert_outcomes(passed=2)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["*noticed 2 of 2 scored faults: 100 %."])


def test_no_second_pass_after_a_run_that_was_stopped(pytester):
    pytester.makepyfile(
        test_it=SUITE + "\n    def test_red():\n        assert False\n\n    def test_late():\n        pass\n"
    )
    result = run(pytester, "-x")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["note: no second pass: the run was stopped"])


def test_recordings_are_not_rewritten_by_mutants(pytester):
    pytester.makepyfile(
        test_it="""
    import torch
    from torch import nn

    def test_recorded(trainstep_recording):
        torch.manual_seed(0)
        model = nn.Linear(4, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

        def step():
            optimizer.zero_grad()
            loss = model(torch.ones(1, 4)).sum()
            loss.backward()
            optimizer.step()
            return loss

        trainstep_recording.check(model, step, steps=2)
    """
    )
    result = run(pytester, "--trainstep-record=all")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*noticed 1 of 1 scored fault: 100 %."])
    run(pytester, "--trainstep-record=none").assert_outcomes(passed=1)


def test_the_audit_that_fails_tests_is_not_what_notices(pytester):
    pytester.makepyfile(test_it=SUITE)
    result = run(pytester, "--trainstep-audit=fail")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*noticed 1 of 2 scored faults: 50 %."])


def test_a_suite_that_never_imports_torch_pays_nothing(pytester):
    pytester.makepyfile("import sys\n\ndef test_it():\n    assert 'torch' not in sys.modules\n")
    result = pytester.runpytest_subprocess("--trainstep-mutate")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["No test that passed has trained: nothing to plant a fault into."])


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--trainstep-mutate=no-step", "*'no-step' is no fault; valid are noop-step, *"),
        ("--trainstep-mutate-fail-under=101", "*'101' is no percentage; valid are the numbers from 0 to 100*"),
        ("--trainstep-mutate-fail-under=many", "*'many' is no percentage*"),
    ],
)
def test_what_is_said_wrongly_is_a_usage_error(pytester, option, said):
    result = pytester.runpytest_inprocess(option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([said])


def test_doctests_that_train_are_run_again(pytester):
    pytester.makepyfile(
        there='''
    import torch

    def double(x):
        """
        >>> model = torch.nn.Linear(1, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> before = model.weight.detach().clone()
        >>> model(torch.ones(1, 1)).sum().backward()
        >>> optimizer.step()
        >>> torch.equal(before, model.weight)
        False
        """
    '''
    )
    result = run(pytester, "--doctest-modules", "there.py")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*noticed 1 of 1 scored fault: 100 %."])


def test_a_worker_that_crashes_is_named(pytester):
    pytest.importorskip("xdist")
    pytester.makepyfile(test_it=SUITE + "\n    def test_crash():\n        import os\n        os._exit(1)\n")
    result = run_elsewhere(pytester, "-n1", "--max-worker-restart=0")
    result.stdout.fnmatch_lines(["note: worker gw0 was lost: its tests had no second pass"])
