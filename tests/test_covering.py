"""An optimizer holds what the model trains: all of it, once, and nothing else."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from pytest_trainstep import OptimizerNotCovering, TrainStepUsageError, assert_optimizer_covers
from pytest_trainstep._diagnose.catalogue import catalogue

CORPUS = Path(__file__).parent / "corpus" / "optimizer_covers"
MARK = re.compile(r"# guilty: ([a-z-]+)$", re.MULTILINE)
CASES = {path.stem: set(MARK.findall(path.read_text())) for path in sorted(CORPUS.glob("*.py"))}


@pytest.mark.parametrize("stem", CASES)
def test_the_guilty_are_named_and_nobody_else(stem):
    script = {"__name__": stem}
    exec(compile((CORPUS / f"{stem}.py").read_text(), f"{stem}.py", "exec"), script)  # noqa: S102
    found = ()
    try:
        assert_optimizer_covers(script["model"], script["optimizer"])
    except OptimizerNotCovering as error:
        found = error.finding.causes

    assert set(found) == CASES[stem]


def test_every_cause_has_a_script_and_every_fault_a_healthy_twin():
    known = {name for name, entry in catalogue().items() if "assert_optimizer_covers" in entry.claims}
    faulty = [stem for stem, marked in CASES.items() if marked]

    assert set().union(*CASES.values()) == known
    assert [stem for stem in faulty if f"{stem}_healthy" not in CASES] == []


def model_of_two():
    return nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))


def test_the_message_in_full():
    model = model_of_two()
    optimizer = torch.optim.SGD(model[0].parameters(), lr=0.1)

    with pytest.raises(OptimizerNotCovering) as caught:
        assert_optimizer_covers(model, optimizer, msg="the house rule")

    text = re.sub(r"\(built at [^)]*\)", "(built at train.py:3)", str(caught.value))
    assert text == (
        "not-in-optimizer: the optimizer does not cover the model: 2 trainable parameters in no group\n"
        "\n"
        "  parameter  shape  numbers  groups\n"
        "  1.weight   (1,3)  3        none\n"
        "  1.bias     (1,)   1        none\n"
        "\n"
        "because: SGD (built at train.py:3) holds 2 parameters of the model and none of these.\n"
        "fix: build it over model.parameters(), or add_param_group for what was added later.\n"
        'on purpose? pass frozen=["1.*"]\n'
        "the house rule"
    )


def test_several_optimizers_cover_together():
    model = model_of_two()
    each = [torch.optim.SGD(part.parameters(), lr=0.1) for part in model]

    assert_optimizer_covers(model, each)
    assert_optimizer_covers(model, dict(enumerate(each)))


def test_a_parameter_in_two_optimizers_names_both():
    model = model_of_two()
    both = [torch.optim.SGD(model.parameters(), lr=0.1), torch.optim.Adam(model[1].parameters())]

    with pytest.raises(OptimizerNotCovering, match=r"held-twice.*(?s:.*)in more than one group \(SGD 0 and Adam 0\)"):
        assert_optimizer_covers(model, both)


def test_frozen_parameters_may_be_held_or_not():
    model = model_of_two()
    model[0].requires_grad_(False)

    assert_optimizer_covers(model, torch.optim.SGD(model.parameters(), lr=0.1))
    assert_optimizer_covers(model, torch.optim.SGD(model[1].parameters(), lr=0.1))


def test_patterns_say_what_must_be_held():
    model = model_of_two()
    optimizer = torch.optim.SGD(model[0].parameters(), lr=0.1)

    assert_optimizer_covers(model, optimizer, frozen=["1.*"])
    assert_optimizer_covers(model, optimizer, only=["0.*"])
    with pytest.raises(OptimizerNotCovering):
        assert_optimizer_covers(model, optimizer, only=["1.weight"])


def test_tensors_outside_the_model_may_be_named():
    model, scale = model_of_two(), nn.Parameter(torch.ones(()))
    optimizer = torch.optim.SGD([*model.parameters(), scale], lr=0.1)

    assert_optimizer_covers(model, optimizer, extra=[scale])
    with pytest.raises(OptimizerNotCovering, match="foreign-in-optimizer"):
        assert_optimizer_covers(model, optimizer)


def test_missing_and_foreign_at_once_give_both_causes():
    model, other = model_of_two(), nn.Linear(5, 5)
    optimizer = torch.optim.SGD([*model[0].parameters(), *other.parameters()], lr=0.1)

    with pytest.raises(OptimizerNotCovering) as caught:
        assert_optimizer_covers(model, optimizer)

    assert set(caught.value.finding.causes) == {"not-in-optimizer", "foreign-in-optimizer"}
    assert "owned by Linear" in str(caught.value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: assert_optimizer_covers(model_of_two(), None), "optimizer must be a torch optimizer, or several"),
        (lambda: assert_optimizer_covers(model_of_two(), []), "not an empty list"),
        (lambda: assert_optimizer_covers(nn.ReLU(), torch.optim.SGD([torch.ones(1)])), "nothing to judge"),
        (
            lambda: assert_optimizer_covers(model_of_two(), torch.optim.SGD([torch.ones(1)]), frozen=["head.*"]),
            r"frozen='head\.\*' matches no parameter",
        ),
        (
            lambda: assert_optimizer_covers(model_of_two(), torch.optim.SGD([torch.ones(1)]), only="0.*"),
            "only must be a list of patterns",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(call, message):
    with pytest.raises(TrainStepUsageError, match=message):
        call()
