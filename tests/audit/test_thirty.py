"""Thirty green tests, ten of them silently broken: exactly those are named, with their causes."""

import json
import re
from pathlib import Path

import pytest

pytest.importorskip("torch._dynamo")
pytest.importorskip("hypothesis.internal.entropy")

MARK = re.compile(r"def (test_\w+)\(.*?\):  # guilty: ([a-z-]+)")
SUITE = Path(__file__).with_name("thirty.py").read_text()
CONFUSABLE = Path(__file__).with_name("confusable.py").read_text()
SMALL = Path(__file__).with_name("small.py").read_text()
GUILTY = dict(MARK.findall(SUITE))


def audit(pytester, *arguments):
    """Run the suite under the audit; return what the JSON report says."""
    pytester.makepyfile(small=SMALL, test_thirty=SUITE)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "--trainstep-report=audit.json", *arguments)
    result.assert_outcomes(passed=30)
    return result, json.loads(pytester.path.joinpath("audit.json").read_text())


def comparable(report):
    """Everything but times and order."""
    tests = sorted(report["tests"], key=lambda test: test["id"])
    for test in tests:
        test["optimizers"] = sorted(test["optimizers"], key=json.dumps)
        test["findings"] = sorted(test["findings"], key=json.dumps)
    return {**report, "started": None, "duration": None, "tests": tests}


def causes(report):
    return {
        test["id"].rpartition("::")[2]: cause
        for test in report["tests"]
        for finding in test["findings"]
        for cause in finding["causes"]
    }


def test_the_suite_is_what_it_says():
    assert len(GUILTY) == len(set(GUILTY.values())) == 10


def test_exactly_the_broken_ten_are_named_alone_and_distributed(pytester):
    result, alone = audit(pytester)
    result.stdout.fnmatch_lines(["*= trainstep audit =*", "* 10 findings in 10: *"])
    _, distributed = audit(pytester, "-n2")

    assert causes(alone) == GUILTY
    assert sum(len(test["findings"]) for test in alone["tests"]) == 10
    assert comparable(alone) == comparable(distributed)


def test_what_looks_like_another_cause_is_named(pytester):
    pytester.makepyfile(small=SMALL, test_confusable=CONFUSABLE)
    pytester.runpytest_subprocess("-p", "no:cacheprovider", "--trainstep-report=audit.json")
    report = json.loads(pytester.path.joinpath("audit.json").read_text())

    guilty = dict(MARK.findall(CONFUSABLE))
    for test in report["tests"]:
        found = {cause for finding in test["findings"] for cause in finding["causes"]}
        assert found == {guilty.get(re.search(r"\w+(?=\[|$)", test["id"])[0])} - {None}, test["id"]
    assert (report["exit_status"], report["notes"]) == (0, [])
    assert sorted(guilty) == sorted({name.partition("[")[0] for name in causes(report)})
