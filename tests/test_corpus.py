"""Small training scripts that carry their verdict on the guilty line, and healthy look-alikes that carry none."""

import corpus_scripts
import pytest

import pytest_trainstep
from pytest_trainstep._diagnose.rules import UNEXPLAINED

WISHES = ("STEPS", "ONLY", "FROZEN", "MIN_UPDATE", "BUFFERS")
CLAIMS = ("weights_update", "weights_frozen")
SCRIPTS = corpus_scripts.scripts(*CLAIMS)


def make_claim(claim, defined):
    wishes = corpus_scripts.wishes(defined, *WISHES)
    getattr(pytest_trainstep, f"assert_{claim}")(defined["model"], defined["step"], **wishes)


@pytest.mark.parametrize("script", corpus_scripts.each(SCRIPTS))
def test_the_guilty_are_named_and_nobody_else(script):
    corpus_scripts.assert_named(script, corpus_scripts.judge(script, make_claim))


@pytest.mark.parametrize("claim", CLAIMS)
def test_every_cause_has_a_script_and_every_fault_a_healthy_twin(claim):
    # a script for which nothing is known is a defect of ours, to be mended and not to be kept
    corpus_scripts.assert_complete(SCRIPTS, claim, but={UNEXPLAINED})


def test_a_script_has_one_fault():
    assert [script for script in SCRIPTS if len(script.marks) > 1] == []
