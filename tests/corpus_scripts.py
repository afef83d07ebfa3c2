"""The scripts of `corpus`: training that carries its verdict on the guilty line, and healthy look-alikes without one."""

import re
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from pytest_trainstep import TrainStepError
from pytest_trainstep._diagnose.catalogue import catalogue

CORPUS = Path(__file__).parent / "corpus"
MARK = re.compile(r"# guilty: ([a-z-]+)$", re.MULTILINE)


class Script(NamedTuple):
    """One file: the claim that is made about it is the name of its folder."""

    claim: str
    stem: str

    @property
    def path(self):
        return CORPUS / self.claim / f"{self.stem}.py"

    @property
    def marks(self):
        """The causes that a finding must name, and no others."""
        return set(MARK.findall(self.path.read_text()))

    @property
    def healthy(self):
        """The same script without its fault."""
        return Script(self.claim, f"{self.stem}_healthy")


def scripts(*claims):
    """Return all scripts of these claims."""
    return [Script(claim, path.stem) for claim in claims for path in sorted((CORPUS / claim).glob("*.py"))]


def each(scripts):
    """Make parameters of scripts; `STILL` in one says that no step of it changes a weight."""
    return [
        pytest.param(
            script,
            id=f"{script.claim}-{script.stem}",
            marks=[pytest.mark.still] if "\nSTILL = True\n" in script.path.read_text() else [],
        )
        for script in scripts
    ]


def judge(script, make_claim):
    """Run a script and make the claim about what it defines; return the finding, None where the claim holds."""
    defined = {"__name__": script.stem}
    torch.manual_seed(0)
    exec(compile(script.path.read_text(), str(script.path), "exec"), defined)  # noqa: S102
    try:
        make_claim(script.claim, defined)
    except TrainStepError as error:
        return error.finding
    finally:
        defined.clear()  # no other script finds the models of this one alive
    return None


def wishes(defined, *names):
    """Return the arguments that a script asks for: `STEPS = 3` is `steps=3`."""
    return {name.lower(): defined[name] for name in names if name in defined}


def assert_named(script, finding):
    """The guilty are named, and nobody else."""
    assert set(finding.causes if finding else ()) == script.marks, str(finding)


def assert_complete(found, *claims, but=frozenset()):
    """Every cause of the claims has a script, every fault has one cause and a healthy twin."""
    known = {name for name, entry in catalogue().items() if any(f"assert_{claim}" in entry.claims for claim in claims)}
    faulty = [script for script in found if script.claim in claims and script.marks]

    assert {cause for script in faulty for cause in script.marks} == known - but
    assert [script for script in faulty if script.healthy not in found or script.healthy.marks] == []
