"""The private names that the second pass leans on are still there; where one is not, it says so and stays away."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_trainstep._mutation import quiet

pytest.importorskip("torch._dynamo")
pytest.importorskip("hypothesis.internal.entropy")


def test_pluggy_calls_every_hook_through_one_function(pytestconfig):
    assert callable(pytestconfig.pluginmanager._inner_hookexec)


def test_pytest_runs_tests_in_a_plugin_of_that_name(pytestconfig):
    assert callable(pytestconfig.pluginmanager.get_plugin(quiet.RUNNER).pytest_runtest_protocol)


def test_pytest_counts_failed_subtests_where_we_look(pytestconfig):
    subtests = pytestconfig.pluginmanager.get_plugin("subtests")
    if subtests is None:
        pytest.skip("before pytest 9 there are none")
    assert pytestconfig.stash[subtests.failed_subtests_key] is not None


def test_hypothesis_keeps_settings_on_the_function():
    @given(st.none())
    def test(_):
        pass

    assert "_hypothesis_internal_use_settings" in vars(test)


def test_coverage_has_the_switch_that_we_turn():
    coverage = pytest.importorskip("coverage")
    assert hasattr(coverage.Coverage(data_file=None), "_warn_preimported_source")


def test_without_silence_there_is_no_second_pass(pytester, monkeypatch):
    monkeypatch.setattr(quiet, "can_be_quiet", lambda config: False)
    pytester.makepyfile("""
    import torch

    def test_it():
        model = torch.nn.Linear(1, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        model(torch.ones(1, 1)).sum().backward()
        optimizer.step()
    """)
    result = pytester.runpytest_inprocess("--trainstep-mutate")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["note: no second pass: this version of pytest or pluggy cannot run*"])
