"""Every faulty optimizer of the collection fails the one property that names its defect; no sound one fails any."""

import functools
import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from pytest_trainstep._diagnose import catalogue
from pytest_trainstep.optimizers import examine_optimizer
from pytest_trainstep.optimizers._catalogue import PROPERTIES


def collected(name, register):
    spec = importlib.util.spec_from_file_location(f"collected_{name}", Path(__file__).with_name(f"{name}.py"))
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # torch.compile looks for it by name
    spec.loader.exec_module(module)
    return getattr(module, register)


SOUND = collected("odd", "SOUND")  # those of plain.py among them
FAULTY = {
    name: kinds
    for file in ("moving", "treating", "keeping")
    for name, kinds in collected(f"faulty_{file}", "FAULTY").items()
}
STILL = FAULTY["updates"]["blatant"]
"""The only one that never changes a weight."""
UPHILL = pytest.mark.trainstep(mutate="off", reason="what does not descend does not without gradients either")


def marks(name, cls):
    return [pytest.mark.still] if cls is STILL else [UPHILL] if name == "descends" else []


CASES = [
    pytest.param(name, cls, id=f"{name}-{cls.__name__}", marks=marks(name, cls))
    for name, kinds in FAULTY.items()
    for cls in kinds.values()
]

# What torch.optim 2.13 itself fails; docs/optimizers-survey.md shows each by hand.
KNOWN = {
    "Adafactor": ["updates-every-shape"],
    "LBFGS": ["updates-every-layout", "deepcopy-and-pickle"],
    "SGD": ["rejects-bad-hyperparameters"],
}
TORCH = [
    cls
    for name, cls in sorted(vars(torch.optim).items())
    if isinstance(cls, type) and issubclass(cls, torch.optim.Optimizer) and cls is not torch.optim.Optimizer
]


def test_every_property_has_a_blatant_and_a_subtle_defect():
    assert set(FAULTY) == set(PROPERTIES)
    assert all({"blatant", "subtle"} <= set(kinds) for kinds in FAULTY.values())


def test_every_property_has_an_entry():
    entries = {name for name, entry in catalogue.catalogue().items() if entry.claims == ("check_optimizer",)}

    assert entries == set(PROPERTIES)


@pytest.mark.parametrize(("name", "cls"), CASES)
def test_a_defect_fails_its_property(name, cls):
    assert examine_optimizer(cls, only=[name])[name].verdict == "failed"


@pytest.mark.slow
@pytest.mark.parametrize(("name", "cls"), CASES)
def test_a_defect_fails_nothing_but_its_property(name, cls):
    found = examine_optimizer(cls, seed=1, also=[name])

    assert [one.name for one in found.failed] == [name], str(found)


@pytest.mark.parametrize("cls", SOUND, ids=lambda cls: cls.__name__)
def test_a_sound_optimizer_moves_and_follows_its_rate(cls):
    found = examine_optimizer(cls, only=["updates", "zero-lr-is-identity", "follows-lr", "closure"], max_examples=1)

    assert not found.failed, str(found)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("cls", SOUND, ids=lambda cls: cls.__name__)
def test_a_sound_optimizer_fails_nothing(cls, seed):
    found = examine_optimizer(cls, seed=seed)

    assert not found.failed, str(found)


@pytest.mark.slow
@pytest.mark.parametrize("cls", TORCH, ids=lambda cls: cls.__name__)
def test_optimizers_of_torch_fail_what_is_known(cls):
    found = examine_optimizer(cls, seed=2)

    assert [one.name for one in found.failed] == KNOWN.get(cls.__name__, []), str(found)


@pytest.mark.parametrize("cls", [torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD, torch.optim.Adagrad])
def test_fused_optimizers_of_torch_walk_past_the_end_of_a_strided_parameter(cls):
    found = examine_optimizer(functools.partial(cls, fused=True, lr=0.1), only=["updates-every-layout"])

    assert "strided" in found["updates-every-layout"].text, str(found)
