"""The negative control of a single test."""

from pathlib import Path

import pytest
import torch
from torch import nn

from pytest_trainstep import FaultNotDetected, TrainStepUsageError, assert_detects
from pytest_trainstep._faults import FAULTS


def train_step(model, optimizer):
    optimizer.zero_grad()
    loss = (model(torch.ones(2, 4)) - 1).pow(2).mean()
    loss.backward()
    optimizer.step()
    return loss.item()


def made():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 1))
    return model, torch.optim.SGD(model.parameters(), lr=0.05)


def blind():
    model, optimizer = made()
    assert train_step(model, optimizer) >= 0


def sharp():
    model, optimizer = made()
    before = [tensor.detach().clone() for tensor in model.parameters()]
    first = train_step(model, optimizer)
    second = train_step(model, optimizer)
    assert second < first
    assert not any(torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True))
    grads = [tensor.grad.clone() for tensor in model.parameters()]
    optimizer.zero_grad()
    (model(torch.ones(2, 4)) - 1).pow(2).mean().backward()
    assert model[0].weight.grad.norm() <= grads[0].norm()


def test_a_sharp_test_detects_every_fault():
    assert_detects(sharp, faults=FAULTS)


def test_a_blind_test_is_told_what_to_add():
    with pytest.raises(FaultNotDetected) as caught:
        assert_detects(blind)
    assert caught.value.finding.causes == ("blind-test",)
    lines = str(caught.value).splitlines()
    assert lines[0] == "blind-test: blind stayed green with 3 of 3 planted faults"
    assert lines[2:6] == [
        "  planted fault  the test  how",
        "  noop-step      survived  -",
        "  noop-backward  survived  -",
        "  zero-lr        survived  -",
    ]
    assert "add assert_weights_update(model, lambda: train_step(model, optimizer))." in str(caught.value)
    assert lines[-1] == "on purpose? pass faults=[...] without noop-step, noop-backward, zero-lr"


def test_a_test_that_notices_some_faults_is_blind_for_the_others():
    def looks_at_gradients():
        model, optimizer = made()
        train_step(model, optimizer)
        assert model[0].weight.grad is not None

    with pytest.raises(FaultNotDetected, match="2 of 3 planted faults") as caught:
        assert_detects(looks_at_gradients, msg="read this")
    assert "noop-backward  killed    AssertionError" in str(caught.value)
    assert str(caught.value).endswith("read this")


def test_what_outlives_the_test_is_as_it_was(trainstep):
    model, optimizer = made()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    train_step(model, optimizer)
    before = [tensor.detach().clone() for tensor in model.parameters()]
    state = [value.clone() for row in optimizer.state.values() for value in row.values()]
    stream = torch.get_rng_state()

    def moves():
        torch.rand(3)
        old = model[0].weight.detach().clone()
        train_step(model, optimizer)
        assert not torch.equal(old, model[0].weight)

    trainstep.assert_detects(moves)
    assert all(torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True))
    now = [value for row in optimizer.state.values() for value in row.values()]
    assert all(torch.equal(*pair) for pair in zip(state, now, strict=True))
    assert torch.equal(stream, torch.get_rng_state())


def test_a_test_with_arguments_is_passed_as_a_lambda():
    def takes(model):
        train_step(model, torch.optim.SGD(model.parameters(), lr=0.1))

    model, _ = made()
    with pytest.raises(FaultNotDetected, match=r"add assert_weights_update\(model, lambda: train_step\(model, "):
        assert_detects(lambda: takes(model), faults=["noop-step"])


def test_pytest_fail_is_a_failure_and_skip_is_none():
    def ends(outcome):
        def test():
            model, optimizer = made()
            old = model[0].weight.detach().clone()
            train_step(model, optimizer)
            if torch.equal(old, model[0].weight):
                outcome("it did not move")

        return test

    assert_detects(ends(pytest.fail))
    with pytest.raises(FaultNotDetected):
        assert_detects(ends(pytest.skip))


def test_a_training_that_does_not_end_is_stopped_and_detected():
    def waits():
        torch.manual_seed(0)
        model, optimizer = made()
        while train_step(model, optimizer) > 0.5:
            pass

    assert_detects(waits)


def test_a_failure_without_any_fault_is_the_tests_own():
    def fails():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        assert_detects(fails)


@pytest.mark.still
def test_a_test_that_does_not_repeat_is_a_usage_error():
    calls = []

    def passes_once():
        calls.append(1)
        model, _ = made()
        train_step(model, torch.optim.SGD(model.parameters(), lr=0.0))
        assert len(calls) == 1

    with pytest.raises(TrainStepUsageError, match="does not give the same result twice"):
        assert_detects(passes_once)


@pytest.mark.still
def test_a_test_without_an_effective_step_is_a_usage_error():
    def warms_up():
        model, _ = made()
        train_step(model, torch.optim.SGD(model.parameters(), lr=0.0))

    with pytest.raises(TrainStepUsageError, match="none of noop-step, zero-lr made a difference in warms_up"):
        assert_detects(warms_up, faults=["noop-step", "zero-lr"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((lambda: None,), "stepped no optimizer"),
        ((None,), "must be callable"),
        ((blind, ["no-op"]), "'no-op' is none"),
        ((blind, []), "it is empty"),
    ],
)
def test_arguments_that_make_no_sense_are_usage_errors(arguments, said):
    test, *faults = arguments
    with pytest.raises(TrainStepUsageError, match=said):
        assert_detects(test, **({"faults": faults[0]} if faults else {}))


def test_the_example_of_the_documentation_is_true(pytester):
    page = Path(__file__).parents[2].joinpath("docs", "mutation.md").read_text()
    pytester.makepyfile(page.split("```python")[1].split("```")[0])
    pytester.runpytest_inprocess().assert_outcomes(passed=2)
