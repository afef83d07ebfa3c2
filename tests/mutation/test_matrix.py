"""The second pass on a suite with known answers: the matrix equals the expectation cell by cell."""

import json
import re
from pathlib import Path

from pytest_trainstep._faults import FAULTS

SUITE = Path(__file__).with_name("suite.py").read_text()
LETTERS = {"K": "killed", "s": "survived", "-": "not applicable", "?": "not repeatable"}
EXPECTED = {
    name: dict(zip(FAULTS, [LETTERS[letter] for letter in cells.replace(" ", "")], strict=True))
    for name, cells in re.findall(r"def (test_\w+)\(.*?\):  # ([Ks?-]{3} [Ks?-]{4})", SUITE)
}


def mutate(pytester, *arguments):
    """Run the suite with every fault; return what the JSON report says of it."""
    pytester.makepyfile(test_suite=SUITE)
    result = pytester.runpytest_subprocess(
        "-p", "no:cacheprovider", "--trainstep-mutate", "--trainstep-report=planted.json", *arguments
    )
    return result, json.loads(pytester.path.joinpath("planted.json").read_text())["planted"]


def name_of(test):
    return test["id"].rpartition("::")[2].partition("[")[0]


def matrix(report):
    return {test["id"]: {fault: cell["verdict"] for fault, cell in test["cells"].items()} for test in report["tests"]}


def test_the_suite_has_every_kind_of_answer():
    assert {verdict for cells in EXPECTED.values() for verdict in cells.values()} == set(LETTERS.values())


def test_the_matrix_is_as_expected_alone_and_distributed(pytester):
    result, alone = mutate(pytester)
    result.assert_outcomes(passed=26, xfailed=1)
    _, distributed = mutate(pytester, "-n2")

    assert {name_of(test): test["cells"] for test in alone["tests"]}.keys() == EXPECTED.keys()
    wrong = {
        (test["id"], fault): (cell, EXPECTED[name_of(test)][fault])
        for test in alone["tests"]
        for fault, cell in test["cells"].items()
        if cell["verdict"] != EXPECTED[name_of(test)][fault]
    }
    assert wrong == {}
    assert matrix(alone) == matrix(distributed)
