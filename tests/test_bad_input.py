"""Bad and exotic input ends in words: a usage error, a named cause, or the user's own error with a note."""

import functools
import traceback
from unittest import mock

import pytest
import torch
from torch import nn

import pytest_trainstep
from pytest_trainstep import TrainStepUsageError, WeightsNotUpdated, assert_weights_update

OURS = pytest_trainstep.__path__[0]


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def net():
    return nn.ModuleDict({"body": nn.Linear(3, 4), "head": nn.Linear(4, 1)})


def output(model):
    return model["head"](model["body"](torch.ones(2, 3)).tanh())


def trained(model):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step():
        optimizer.zero_grad()
        loss = (output(model) - 1).square().sum()
        loss.backward()
        optimizer.step()
        return loss

    return step


class Unlisted(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 2)

    def named_parameters(self, *_args, **_kwargs):
        raise NotImplementedError


def lazy():
    yield 1


async def later():
    pass


MODEL = nn.Linear(1, 1)
REFUSED = {
    "a class": (lambda: (nn.Linear, print), "not type"),
    "a list of models": (lambda: ([MODEL], print), "not list"),
    "an empty mapping": (lambda: ({}, print), "the mapping is empty"),
    "a mapping of others": (lambda: ({"a": 1}, print), "'a' is int"),
    "a wrapper of a model": (lambda: (mock.Mock(spec=[], module=MODEL), print), "did you mean its `.module`"),
    "no model": (lambda: (None, print), "give a model"),
    "a result": (lambda: (MODEL, torch.ones(())), "not Tensor: pass the function, not its result"),
    "a generator function": (lambda: (MODEL, lazy), "generator function"),
    "a part of one": (lambda: (MODEL, functools.partial(lazy)), "generator function"),
    "an async function": (lambda: (MODEL, later), "async function"),
    "no parameters": (lambda: (nn.ReLU(), lambda: None), "no parameters of any kind"),
    "buffers only": (lambda: (nn.BatchNorm1d(3, affine=False), lambda: None), "no parameters of any kind"),
    "meta": (lambda: (nn.Linear(2, 2, device="meta"), lambda: None), "on the meta device"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_makes_no_sense_is_refused_in_words(case):
    build, complaint = REFUSED[case]
    with pytest.raises(TrainStepUsageError, match=complaint):
        assert_weights_update(*build())


@pytest.mark.parametrize("steps", [0, -1, 1.0, True, "3"], ids=repr)
def test_the_number_of_steps_must_be_one(steps):
    with pytest.raises(TrainStepUsageError, match="steps must be a whole number above 0"):
        assert_weights_update(MODEL, lambda: None, steps=steps)


@pytest.mark.parametrize("params", [{}, {"w": 1}, 3, dict], ids=["empty", "number", "no-mapping", "callable"])
def test_params_that_are_none_are_refused(params):
    with pytest.raises(TrainStepUsageError, match="params must"):
        assert_weights_update(None, lambda: None, params=params)


def test_a_model_that_hides_its_parameters_is_asked_by_other_means():
    model = Unlisted()
    optimizer = torch.optim.SGD([*model.inner.parameters()], lr=0.1)

    def step():
        model.inner(torch.ones(1, 3)).sum().backward()
        optimizer.step()

    assert set(assert_weights_update(model, step).parameters) == {"inner.weight", "inner.bias"}


def test_a_lazy_model_that_never_ran_fails_in_words():
    with pytest.raises(WeightsNotUpdated) as caught:
        assert_weights_update(nn.LazyLinear(3), lambda: None)

    assert caught.value.finding.causes == ("no-step",)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch.jit
def test_a_scripted_model_fails_in_words_and_is_not_run_again():
    model = torch.jit.script(nn.Linear(3, 1))
    with pytest.raises(WeightsNotUpdated) as caught:
        assert_weights_update(model, lambda: model(torch.ones(2, 3)).sum().backward())

    assert caught.value.finding.causes == ("no-step",)
    assert "could not be run once more to look closer: the model is scripted" in str(caught.value)


def test_a_layer_that_is_gone_at_the_end_is_mentioned_and_not_judged():
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))

    def step():
        del model[1:]
        model(torch.ones(2, 3)).sum().backward()

    with pytest.raises(WeightsNotUpdated) as caught:
        assert_weights_update(model, step)

    assert set(caught.value.finding.parameters) == {"0.weight", "0.bias"}
    assert "note: no longer in the model at the end: 1.weight, 1.bias" in str(caught.value)


def test_a_fault_of_ours_while_evidence_is_gathered_becomes_a_note(monkeypatch):
    from pytest_trainstep._watch import owners

    monkeypatch.setattr(owners, "Census", None)
    model = net()
    with pytest.raises(WeightsNotUpdated, match="note: internal: evidence: TypeError"):
        assert_weights_update(model, lambda: output(model).sum().backward())


def mocked_optimizer(model):
    optimizer = mock.MagicMock(spec=torch.optim.Optimizer)
    output(model).sum().backward()
    optimizer.step()


def patched_class(model):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with mock.patch.object(torch.optim.SGD, "step"):
        output(model).sum().backward()
        optimizer.step()


def patched_instance(model):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with mock.patch.object(optimizer, "step"):
        output(model).sum().backward()
        optimizer.step()


class Bare(torch.optim.Optimizer):
    def __init__(self, params):
        self.kept = list(params)

    def step(self):
        """Does nothing."""


def without_base(model):
    optimizer = Bare(model.parameters())
    output(model).sum().backward()
    optimizer.step()


@pytest.mark.parametrize("step", [mocked_optimizer, patched_class, patched_instance, without_base])
def test_optimizers_that_cannot_be_observed_end_in_a_named_cause(step):
    model = net()
    with pytest.raises(WeightsNotUpdated) as caught:
        assert_weights_update(model, lambda: step(model))

    assert caught.value.finding.causes[0] in {"no-step", "optimizer-not-observed"}


def raised_by(model, step):
    """The error that passes; the frames of ours in it only hand the call on."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - whatever it is
        assert_weights_update(model, step)
    frames = [frame for frame in traceback.extract_tb(caught.value.__traceback__) if frame.filename.startswith(OURS)]
    assert [frame.name for frame in frames if frame.filename.endswith(("weights.py", "watching.py"))][:2] == [
        "assert_weights_update",
        "run",
    ]
    assert not caught.value.__context__
    return caught.value, getattr(caught.value, "__notes__", [])


def test_a_step_that_needs_an_argument_raises_its_own_error():
    error, notes = raised_by(net(), lambda batch: batch)

    assert isinstance(error, TypeError)
    assert notes == []


def scaled_without_gradients(model):
    scaler = torch.amp.GradScaler("cpu")
    scaler.scale(output(model).sum())
    scaler.step(torch.optim.SGD(model.parameters(), lr=0.1))


def never_scaled(model):
    output(model).sum().backward()
    torch.amp.GradScaler("cpu").step(torch.optim.SGD(model.parameters(), lr=0.1))


def unscaled_too_early(model):
    torch.amp.GradScaler("cpu").unscale_(torch.optim.SGD(model.parameters(), lr=0.1))


def stepped_twice(model):
    optimizer, scaler = torch.optim.SGD(model.parameters(), lr=0.1), torch.amp.GradScaler("cpu")
    for _ in range(2):
        scaler.scale(output(model).sum()).backward()
        scaler.step(optimizer)


def backward_twice(model):
    loss = output(model).sum()
    loss.backward()
    loss.backward()


TORCHS_OWN = {
    "before scaler.step(optimizer) (and": never_scaled,
    "was never scaled: ": unscaled_too_early,
    "the loss is not a scalar": lambda model: output(model).backward(),
    "the loss has no graph": lambda model: output(model).sum().detach().backward(),
    "found no gradient at all": scaled_without_gradients,
    "pass optimizer.step(closure)": lambda model: torch.optim.LBFGS(model.parameters()).step(),
    "call scaler.update()": stepped_twice,
    "a graph of an earlier step": backward_twice,
}


@pytest.mark.parametrize("advice", TORCHS_OWN)
def test_torchs_own_errors_pass_with_a_note(advice):
    model = net()
    _, notes = raised_by(model, lambda: TORCHS_OWN[advice](model))

    assert [note.startswith("trainstep: ") and advice in note for note in notes] == [True]


def test_inference_mode_passes_torchs_error_with_a_note():
    model = net()
    error, notes = raised_by(model, torch.inference_mode()(trained(model)))

    assert isinstance(error, RuntimeError)
    assert "no graph" in notes[0]


def test_a_closure_of_none_raises_torchs_error():
    model = net()
    optimizer = torch.optim.LBFGS(model.parameters())
    error, _ = raised_by(model, lambda: optimizer.step(None))

    assert isinstance(error, TypeError)


def test_global_modes_left_behind_by_a_step_do_not_disturb():
    model = net()
    step = trained(model)

    def careless():
        with torch.enable_grad():
            step()
        torch.set_grad_enabled(False)
        torch.set_default_dtype(torch.float64)

    try:
        assert_weights_update(model, careless)
    finally:
        torch.set_grad_enabled(True)
        torch.set_default_dtype(torch.float32)
