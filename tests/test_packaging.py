"""What the package says about itself holds together."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads(ROOT.joinpath("pyproject.toml").read_text())
PINS = ROOT.joinpath("constraints.txt").read_text().splitlines()


def test_the_extra_and_the_group_are_one_list():
    assert PROJECT["project"]["optional-dependencies"]["dev"] == PROJECT["dependency-groups"]["dev"]


def test_torch_is_pinned_first_so_that_the_build_without_cuda_is_taken():
    assert PINS[0] == "torch==2.13.0"
    assert not [pin for pin in PINS if re.match("nvidia|triton|cuda", pin, re.IGNORECASE)]


@pytest.mark.parametrize(
    "requirement", [*PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"]["dev"]]
)
def test_every_requirement_is_pinned_exactly(requirement):
    name = re.match(r"[\w.-]+", requirement)[0]

    assert any(re.fullmatch(rf"{re.escape(name)}==[\w.]+", pin, re.IGNORECASE) for pin in PINS)


def test_the_types_are_shipped():
    assert ROOT.joinpath("pytest_trainstep", "py.typed").is_file()
    assert "Typing :: Typed" in PROJECT["project"]["classifiers"]


def test_the_root_conftest_does_one_thing():
    assert ROOT.joinpath("conftest.py").read_text() == 'pytest_plugins = ["pytester"]\n'
