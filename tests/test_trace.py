"""The trace of a second run: which operation cuts the graph and where, what the loss depends on, what was lost."""

import numpy as np
import pytest
import torch
from torch import nn

from pytest_trainstep import WeightsNotUpdated, assert_weights_update

ENCODER, HEAD = ("encoder.weight", "encoder.bias"), ("head.weight", "head.bias")


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


class Detour(torch.autograd.Function):
    """A function of ones own that forgets its weight."""

    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(weight)
        return x @ weight.t()

    @staticmethod
    def backward(ctx, grad):
        return grad @ ctx.saved_tensors[0], None


def evidence_of(between, *, backward=True):
    """Train an encoder and a head with something in between; return what the second run found for each parameter."""
    model = nn.ModuleDict({"encoder": nn.Linear(3, 4), "head": nn.Linear(4, 1)})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step():
        optimizer.zero_grad()
        loss = model["head"](between(model["encoder"](torch.ones(2, 3)), model)).square().sum()
        if backward:
            loss.backward()
        optimizer.step()
        return loss

    with pytest.raises(WeightsNotUpdated) as caught:
        assert_weights_update(model, step)
    record = caught.value.finding.record
    assert record.reran
    return caught.value.finding, {name: row.evidence for name, row in record.parameters.items()}


def twice_without_gradients(h, _model):
    with torch.no_grad():
        return h * 2


CUTS = {
    "detach": (lambda h, _: h.detach(), "detach"),
    "data": (lambda h, _: h.data, "data"),
    "item": (lambda h, _: torch.tensor([[one.item() for one in row] for row in h]), "item"),
    "tolist": (lambda h, _: torch.tensor(h.tolist()), "tolist"),
    "numpy": (lambda h, _: torch.from_numpy(h.detach().numpy() * 2), "detach"),
    "array": (lambda h, _: torch.from_numpy(np.asarray(h.detach())), "detach"),
    "argmax": (lambda h, _: nn.functional.one_hot(h.argmax(1), 4).float(), "argmax"),
    "comparison": (lambda h, _: (h > 0).float(), "gt"),
    "integers": (lambda h, _: (100 * h).long().float(), "long"),
    "new tensor": (lambda h, _: torch.tensor(h.detach().clone().tolist()), "detach"),
    "no_grad": (twice_without_gradients, "mul"),
}


@pytest.mark.parametrize("cut", CUTS)
def test_the_operation_that_cuts_the_graph_is_named_with_its_line(cut):
    between, by = CUTS[cut]
    finding, evidence = evidence_of(between)

    assert finding.parameters == dict.fromkeys(ENCODER, "detached")
    for name in ENCODER:
        assert evidence[name].cut_by.strip("_") == by
        assert "test_trace.py:" in evidence[name].cut_at
        assert evidence[name].cut_no_grad is (cut == "no_grad")
        assert evidence[name].in_loss
        assert evidence[name].ran
        assert not evidence[name].connected
    assert f"`{evidence[ENCODER[0]].cut_by}` at " in str(finding)


def test_the_first_of_several_cuts_is_named():
    _, evidence = evidence_of(lambda h, _: h.detach().round().argmax(1, keepdim=True).float().expand(2, 4))

    assert evidence["encoder.weight"].cut_by == "detach"


def test_what_the_loss_does_not_depend_on_is_told_from_what_is_cut():
    finding, evidence = evidence_of(lambda h, _: torch.ones_like(h))

    assert finding.causes == ("unused",)
    assert evidence["encoder.weight"].ran is True
    assert evidence["encoder.weight"].in_loss is False
    finding, _ = evidence_of(lambda h, model: torch.ones(2, 4))
    assert finding.causes == ("unused",)


def test_a_function_that_returns_no_gradient_for_its_weight_is_not_called_a_cut():
    finding, _ = evidence_of(lambda h, model: Detour.apply(h.detach(), torch.eye(4)))
    assert finding.parameters == dict.fromkeys(ENCODER, "detached")

    model = nn.Linear(3, 2, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step():
        x = torch.ones(1, 3, requires_grad=True)
        Detour.apply(x, model.weight).sum().backward()
        optimizer.step()

    with pytest.raises(WeightsNotUpdated, match="a function on the way returns None for them"):
        assert_weights_update(model, step)


@pytest.mark.still
def test_without_backward_the_returned_loss_is_looked_at():
    finding, evidence = evidence_of(lambda h, _: h, backward=False)

    assert set(finding.parameters) == {*ENCODER, *HEAD}
    assert finding.causes == ("no-backward",)
    assert all(one.connected for one in evidence.values())


def test_a_loss_that_was_never_given_to_backward_is_named_with_its_line():
    model = nn.ModuleDict({"a": nn.Linear(1, 1), "b": nn.Linear(1, 1)})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step():
        optimizer.zero_grad()
        loss_a = model["a"](torch.ones(1, 1)).sum()
        model["b"](torch.ones(1, 1)).sum()
        loss_a.backward()
        optimizer.step()

    with pytest.raises(WeightsNotUpdated) as caught:
        assert_weights_update(model, step)

    assert caught.value.finding.parameters == dict.fromkeys(("b.weight", "b.bias"), "no-backward")
    assert f"test_trace.py:{step.__code__.co_firstlineno + 3}" in str(caught.value)


@pytest.mark.parametrize("name", ["round", "floor", "sign"])
def test_an_operation_whose_derivative_is_zero_is_named(name):
    finding, evidence = evidence_of(lambda h, _: getattr(torch, name)(h) * 1.0)

    assert finding.parameters == dict.fromkeys(ENCODER, "zero-gradient")
    assert evidence["encoder.weight"].flat_by == name
    assert "test_trace.py:" in evidence["encoder.weight"].flat_at


@pytest.mark.still
@pytest.mark.parametrize(
    ("clear", "by"),
    [
        (lambda model: model.zero_grad(), "grad = None"),
        (lambda model: [one.grad.zero_() for one in model.parameters()], "zero_"),
        (lambda model: model.zero_grad(set_to_none=False), "zero_"),
    ],
    ids=["none", "in-place", "module"],
)
def test_what_clears_the_gradients_is_named(clear, by):
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step():
        model(torch.ones(1, 3)).sum().backward()
        clear(model)
        optimizer.step()

    with pytest.raises(WeightsNotUpdated) as caught:
        assert_weights_update(model, step)

    evidence = caught.value.finding.record.parameters["weight"].evidence
    assert caught.value.finding.causes == ("gradients-cleared",)
    assert by in evidence.cleared_by
    assert "test_trace.py:" in evidence.cleared_at


def test_values_computed_and_never_written_are_named_with_their_line():
    model = nn.Linear(3, 1)

    def step():
        model.zero_grad()
        model(torch.ones(1, 3)).sum().backward()
        with torch.no_grad():
            return [one - 0.1 * one.grad for one in model.parameters()]

    with pytest.raises(WeightsNotUpdated) as caught:
        assert_weights_update(model, step)

    assert caught.value.finding.causes == ("update-not-written",)
    assert f"test_trace.py:{step.__code__.co_firstlineno + 4}" in str(caught.value)


def test_a_trace_that_grows_too_large_gives_up_quietly(monkeypatch):
    from pytest_trainstep._watch import trace

    monkeypatch.setattr(trace, "LIMIT", 16)
    model = nn.Linear(3, 1)

    def step():
        model(torch.ones(1, 3)).sum().backward()

    with pytest.raises(WeightsNotUpdated) as caught:
        assert_weights_update(model, step)
    assert caught.value.finding.causes == ("no-step",)


@pytest.mark.still
def test_a_fault_of_the_trace_does_not_reach_the_step(monkeypatch):
    from pytest_trainstep._watch import trace

    def broken(*_args):
        raise KeyError("ours")

    monkeypatch.setattr(trace.Tracer, "_note", broken)
    finding, _ = evidence_of(lambda h, _: h, backward=False)
    assert finding.causes == ("no-backward",)
