"""Small training scripts that carry their verdict on the guilty line, and healthy look-alikes that carry none."""

import re
import warnings
from pathlib import Path

import pytest
import torch

import pytest_trainstep
from pytest_trainstep import TrainStepError
from pytest_trainstep._diagnose.catalogue import catalogue
from pytest_trainstep._diagnose.rules import UNEXPLAINED

CORPUS = Path(__file__).parent / "corpus"
MARK = re.compile(r"# guilty: ([a-z-]+)$", re.MULTILINE)
WISHES = ("STEPS", "ONLY", "FROZEN", "MIN_UPDATE", "BUFFERS")
CLAIMS = ("weights_update", "weights_frozen")
CASES = [(claim, path.stem) for claim in CLAIMS for path in sorted((CORPUS / claim).glob("*.py"))]


def source(claim, stem):
    return (CORPUS / claim / f"{stem}.py").read_text()


def marks(claim, stem):
    return set(MARK.findall(source(claim, stem)))


def rules(claim):
    return {name for name, entry in catalogue().items() if f"assert_{claim}" in entry.claims}


def judge(claim, stem):
    """Run the script and make the claim about its step; return the finding, None where the claim holds."""
    script = {"__name__": stem}
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exec(compile(source(claim, stem), str(CORPUS / claim / f"{stem}.py"), "exec"), script)  # noqa: S102
        wishes = {name.lower(): script[name] for name in WISHES if name in script}
        try:
            getattr(pytest_trainstep, f"assert_{claim}")(script["model"], script["step"], **wishes)
        except TrainStepError as error:
            return error.finding
        finally:
            script.clear()  # no other script finds the models of this one alive
    return None


def case(claim, stem):
    """A script with `STILL` says that no step of it changes a weight."""
    still = [pytest.mark.still] if "\nSTILL = True\n" in source(claim, stem) else []
    return pytest.param(claim, stem, id=f"{claim}-{stem}", marks=still)


@pytest.mark.parametrize(("claim", "stem"), [case(*each) for each in CASES])
def test_the_guilty_are_named_and_nobody_else(claim, stem):
    finding = judge(claim, stem)

    assert set(finding.causes if finding else ()) == marks(claim, stem), str(finding)


@pytest.mark.parametrize("claim", CLAIMS)
def test_every_rule_has_a_script_and_every_mark_a_rule(claim):
    marked = {cause for where, stem in CASES if where == claim for cause in marks(claim, stem)}

    # a script for which nothing is known is a defect of ours, to be mended and not to be kept
    assert marked == rules(claim) - {UNEXPLAINED}


@pytest.mark.parametrize(("claim", "stem"), [case for case in CASES if marks(*case)])
def test_every_fault_has_a_healthy_twin(claim, stem):
    assert (claim, f"{stem}_healthy") in CASES
    assert not marks(claim, f"{stem}_healthy")


def test_a_script_has_one_fault():
    assert [case for case in CASES if len(marks(*case)) > 1] == []
