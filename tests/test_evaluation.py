"""Evaluation: what it may leave changed, whether it repeats, and that everything is put back afterwards."""

import collections
import copy
import dataclasses
import random
import re

import corpus_scripts
import numpy as np
import pytest
import torch
from torch import nn

import pytest_trainstep
from pytest_trainstep import (
    EvaluationNotPure,
    EvaluationNotRepeatable,
    TrainStepUsageError,
    assert_evaluation_pure,
    assert_evaluation_repeatable,
)

CLAIMS = ("evaluation_pure", "evaluation_repeatable")
SCRIPTS = corpus_scripts.scripts(*CLAIMS)


def make_claim(claim, defined):
    given = {"optimizer": defined["optimizer"]} if claim == "evaluation_pure" and "optimizer" in defined else {}
    getattr(pytest_trainstep, f"assert_{claim}")(defined["model"], defined["evaluate"], **given)


@pytest.mark.parametrize("script", corpus_scripts.each(SCRIPTS))
def test_the_guilty_are_named_and_nobody_else(script):
    corpus_scripts.assert_named(script, corpus_scripts.judge(script, make_claim))


@pytest.mark.parametrize("claim", CLAIMS)
def test_every_cause_has_a_script_and_every_fault_a_healthy_twin(claim):
    corpus_scripts.assert_complete(SCRIPTS, claim)


# -- everything is put back ------------------------------------------------------------------


class Messy(nn.Module):
    """A model with everything that an evaluation can disturb."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 4)
        self.norm = nn.BatchNorm1d(4)
        self.head = nn.Linear(4, 2).requires_grad_(False)
        self.norm.eval()
        self.seen = 0
        self.register_buffer("state", torch.zeros(2))

    def forward(self, x):
        self.seen += 1
        return self.head(self.norm(self.layer(x)))


def portrait(model, optimizer):
    values = {name: value.clone() for name, value in model.state_dict().items()}
    grads = {name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()}
    switches = [(m.training, [p.requires_grad for p in m.parameters()]) for m in model.modules()]
    identities = [id(p) for p in model.parameters()]
    streams = (torch.get_rng_state().tolist(), random.getstate(), repr(np.random.get_state()))  # noqa: NPY002
    state = copy.deepcopy(optimizer.state_dict())
    return values, grads, switches, identities, streams, state, model.seen, torch.is_grad_enabled()


def same(one, other):
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return one == other


def messy():
    torch.manual_seed(3)
    model = Messy()
    optimizer = torch.optim.Adam([*model.layer.parameters(), *model.norm.parameters()], lr=0.1)
    model(torch.randn(5, 3)).sum().backward()
    optimizer.step()
    return model, optimizer


@pytest.mark.parametrize("claim", CLAIMS)
def test_everything_is_put_back_bit_by_bit(claim):
    model, optimizer = messy()

    def evaluate():
        torch.set_grad_enabled(True)
        model.train()
        score = model(torch.randn(5, 3)).square().mean() * random.random() * np.random.rand()  # noqa: NPY002, S311
        score.backward()
        optimizer.step()
        optimizer.zero_grad()
        optimizer.param_groups[0]["lr"] = 0.5
        model.requires_grad_(True)
        model.state = torch.ones(2)
        model.layer.bias = nn.Parameter(torch.ones(4))
        model.half().float()
        torch.manual_seed(0)
        torch.set_grad_enabled(False)
        return score.item()

    before = portrait(model, optimizer)
    with pytest.raises((EvaluationNotPure, EvaluationNotRepeatable)):
        getattr(pytest_trainstep, f"assert_{claim}")(model, evaluate)

    assert same(portrait(model, optimizer), before)


def test_everything_is_put_back_when_the_evaluation_raises():
    model, optimizer = messy()

    def evaluate():
        model.train()
        model(torch.randn(5, 3))
        raise RuntimeError("no such file")

    before = portrait(model, optimizer)
    with pytest.raises(RuntimeError, match="no such file"):
        assert_evaluation_pure(model, evaluate, optimizer=optimizer)

    assert same(portrait(model, optimizer), before)


def test_a_healthy_evaluation_leaves_the_streams_as_they_were():
    model, optimizer = messy()
    before = portrait(model, optimizer)

    def evaluate():
        return torch.rand(3).sum().item()

    assert_evaluation_pure(model, evaluate, optimizer=optimizer)

    assert same(portrait(model, optimizer), before)


# -- streams -----------------------------------------------------------------------------------


def linear():
    torch.manual_seed(0)
    return nn.Linear(2, 2)


def test_a_stream_that_is_seeded_under_another_name_is_seen():
    seed = torch.manual_seed
    model = linear()

    with pytest.raises(EvaluationNotPure, match="stream-reset"):
        assert_evaluation_pure(model, lambda: (seed(5), model(torch.randn(3, 2)).sum().item()))


def test_a_stream_that_is_seeded_anew_each_time_is_seen():
    model, epochs = linear(), iter(range(100, 200))

    with pytest.raises(EvaluationNotPure, match="stream-reset"):
        assert_evaluation_pure(model, lambda: (torch.manual_seed(next(epochs)), torch.rand(2)))


def test_the_message_names_the_stream_and_the_line():
    model = linear()

    def evaluate():
        np.random.seed(3)  # noqa: NPY002

    with pytest.raises(EvaluationNotPure) as caught:
        assert_evaluation_pure(model, evaluate)

    assert caught.value.finding.parameters == {"numpy": "stream-reset"}
    assert re.search(r"stream of numpy to a fixed place at .*test_evaluation.py:\d+", str(caught.value))


def test_an_evaluation_that_runs_only_once_is_not_called_impure():
    model, batches = linear(), iter([torch.ones(1, 2)])

    assert_evaluation_pure(model, lambda: (model(next(batches)) + torch.rand(1)).sum().item())


# -- messages and arguments ----------------------------------------------------------------------


def test_the_message_in_full():
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5))

    with pytest.raises(EvaluationNotPure) as caught:
        assert_evaluation_pure(model, lambda: model.eval(), msg="the house rule")  # noqa: PLW0108

    assert str(caught.value) == (
        "mode-not-restored: evaluation changed 3 things (modes)\n"
        "\n"
        "  what   name         was    is now\n"
        "  modes  (the model)  train  eval\n"
        "  modes  0            train  eval\n"
        "  modes  1            train  eval\n"
        "\n"
        "because: 3 modules that came in train mode stand in eval mode now.\n"
        "fix: remember the mode and restore it: was = model.training; ...; model.train(was).\n"
        'on purpose? pass allowed=["modes"]\n'
        "note: everything was put back\n"
        "the house rule"
    )


def test_what_is_allowed_may_change():
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5))

    assert_evaluation_pure(model, lambda: model.eval(), allowed=["modes"])  # noqa: PLW0108
    assert model.training


def test_a_layer_that_is_replaced_is_seen_and_put_back():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    head = model[1]

    with pytest.raises(EvaluationNotPure, match="weights-replaced"):
        assert_evaluation_pure(model, lambda: model.__setitem__(1, nn.Linear(2, 1)))

    assert model[1] is head


def test_several_optimizers_are_looked_at():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    several = [torch.optim.SGD(part.parameters(), lr=0.1) for part in model]

    def evaluate():
        several[1].param_groups[0]["lr"] = 0.2

    with pytest.raises(EvaluationNotPure, match="optimizer-changed"):
        assert_evaluation_pure(model, evaluate, optimizer=several)


def test_the_values_that_differ_are_named():
    model, scores = linear(), iter(range(10))

    with pytest.raises(EvaluationNotRepeatable) as caught:
        assert_evaluation_repeatable(model, lambda: {"loss": 1.0, "per_class": [0.5, float(next(scores))]})

    assert caught.value.finding.parameters == {"per_class.1": "evaluation-reads-outside"}
    assert "1 of 3 values came out otherwise" in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        {"loss": torch.tensor(float("nan")), "epoch_time": 3},
        ["text", None, (1, 2.0)],
        torch.randn(3, dtype=torch.complex64),
        np.ones(3),
        object(),
    ],
    ids=["nan", "nan tensor", "mixed", "complex", "numpy", "object"],
)
def test_equal_results_repeat(value):
    assert_evaluation_repeatable(linear(), lambda: copy.deepcopy(value))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: assert_evaluation_pure(linear(), 0.5), "eval_fn must be callable without arguments, not float"),
        (lambda: assert_evaluation_repeatable(linear(), None), "eval_fn must be callable .*, not NoneType"),
        (lambda: assert_evaluation_repeatable(linear(), lambda: None), "eval_fn must return what is to be compared"),
        (lambda: assert_evaluation_pure(None, lambda: 1), "model must be a torch.nn.Module"),
        (
            lambda: assert_evaluation_pure(linear(), lambda: 1, optimizer=3),
            "optimizer must be a torch optimizer.* not int",
        ),
        (lambda: assert_evaluation_pure(linear(), lambda: 1, allowed=["mode"]), "allowed must be .* not 'mode'"),
        (lambda: assert_evaluation_pure(linear(), lambda: 1, allowed="modes"), "allowed must be a list .* not 'modes'"),
    ],
)
def test_what_makes_no_sense_is_refused(call, message):
    with pytest.raises(TrainStepUsageError, match=message):
        call()


# -- what can differ -------------------------------------------------------------------------------


def zero_the_moments(optimizer):
    for state in optimizer.state.values():
        state["exp_avg"].zero_()


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (zero_the_moments, "Adam, layer.weight: exp_avg"),
        (lambda optimizer: optimizer.state.clear(), "Adam, layer.weight: step"),
        (lambda optimizer: optimizer.param_groups[0].update(betas=(0.5, 0.9)), "Adam, betas of group 0 0"),
        (lambda optimizer: optimizer.param_groups[0]["params"].pop(), "Adam, parameters of group 0"),
        (lambda optimizer: optimizer.add_param_group({"params": [torch.ones(1)]}), "Adam, parameters of group 1"),
    ],
    ids=["moments zeroed", "state dropped", "betas", "parameter left out", "group added"],
)
def test_every_part_of_an_optimizer_is_compared(change, name):
    model, optimizer = messy()
    before = portrait(model, optimizer)

    with pytest.raises(EvaluationNotPure) as caught:
        assert_evaluation_pure(model, lambda: change(optimizer), optimizer=optimizer)

    assert caught.value.finding.parameters[name] == "optimizer-changed"
    assert same(portrait(model, optimizer), before)


Score = collections.namedtuple("Score", "mean spread")  # noqa: PYI024


@dataclasses.dataclass
class Report:
    loss: float
    parts: Score


@pytest.mark.parametrize(
    ("first", "second", "path"),
    [
        (Report(1.0, Score(2.0, 3.0)), Report(1.0, Score(2.0, 4.0)), "parts.spread"),
        ({"a": 1}, {"a": 1, "b": 2}, "b"),
        (torch.ones(2), torch.ones(3), "(result)"),
        (torch.tensor([1.0, float("nan")]), torch.ones(2), "(result)"),
        ("cat", "dog", "(result)"),
        ([True, 3], [True, 4], "1"),
        (np.zeros(2), np.ones(2), "(result)"),
        (torch.ones(2, dtype=torch.bfloat16), torch.ones(2, dtype=torch.bfloat16) * 2, "(result)"),
    ],
    ids=["objects", "another key", "shape", "nan", "text", "count", "numpy", "bfloat16"],
)
def test_results_are_compared_value_by_value(first, second, path):
    values = iter([first, second, first, second])

    with pytest.raises(EvaluationNotRepeatable) as caught:
        assert_evaluation_repeatable(linear(), lambda: next(values))

    assert list(caught.value.finding.parameters) == [path]
