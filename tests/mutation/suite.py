"""A suite whose blind spots are known: `# KKK KKKK` beside each test says how it fares, fault by fault.

The columns are the faults in their order: noop-step, noop-backward, zero-lr, stale-gradients, flipped-gradient,
partial-step, detached-loss. K: killed, s: survived, -: not applicable, ?: not repeatable.
"""

import random
import unittest

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn


def make(seed=0):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, 2), nn.Linear(2, 1))
    return model, torch.optim.SGD(model.parameters(), lr=0.05)


def step(model, optimizer):
    optimizer.zero_grad()
    loss = (model(torch.linspace(-1, 1, 32).reshape(8, 4)) - 1).pow(2).mean()
    loss.backward()
    optimizer.step()
    return loss.item()


def weights(model):
    return [tensor.detach().clone() for tensor in model.parameters()]


def all_moved(before, model):
    return not any(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))


def test_blind():  # sss -sss
    model, optimizer = make()
    assert step(model, optimizer) > 0


def test_blind_over_two_steps():  # sss ssss
    model, optimizer = make()
    for _ in range(2):
        optimizer.zero_grad()
        model(torch.ones(1, 4)).sum().backward()
        optimizer.step()
    assert model(torch.ones(1, 4)).shape == (1, 1)


def test_only_grad_is_there():  # sKs -ssK
    model, optimizer = make()
    step(model, optimizer)
    assert model[0].weight.grad is not None


def test_one_weight_moves():  # KKK -ssK
    model, optimizer = make()
    before = weights(model)
    step(model, optimizer)
    assert not torch.equal(before[0], model[0].weight)


def test_every_weight_moves():  # KKK -sKK
    model, optimizer = make()
    before = weights(model)
    step(model, optimizer)
    assert all_moved(before, model)


def test_loss_falls():  # KKK sKsK
    model, optimizer = make()
    losses = [step(model, optimizer) for _ in range(20)]
    assert losses[-1] < losses[0]


def test_gradients_are_fresh():  # sKs KssK
    model, optimizer = make()
    step(model, optimizer)
    first = model[0].weight.grad.norm()
    step(model, optimizer)
    assert model[0].weight.grad.norm() < 1.5 * first


def test_trains_until_good():  # KKK sssK (NaN ends the loop)
    model, optimizer = make()
    while step(model, optimizer) > 0.9:
        pass


def test_second_group_moves():  # KKK -sKK
    model, _ = make()
    optimizer = torch.optim.SGD([{"params": layer.parameters()} for layer in model], lr=0.1)
    before = weights(model)
    step(model, optimizer)
    assert not torch.equal(before[-1], model[1].bias)


def test_zero_lr_changes_nothing():  # --- ----
    model, _ = make()
    before = weights(model)
    step(model, torch.optim.SGD(model.parameters(), lr=0.0))
    assert torch.equal(before[0], model[0].weight)


@pytest.fixture(scope="session")
def trained():
    model, optimizer = make(1)
    before = weights(model)
    for _ in range(3):
        step(model, optimizer)
    return model, before


def test_session_fixture_is_used(trained):  # sss ssss
    assert trained[0](torch.ones(2, 4)).shape == (2, 1)


def test_session_fixture_is_checked(trained):  # KKK ssKK
    assert all_moved(trained[1], trained[0])


@pytest.fixture
def checked():
    model, optimizer = make()
    before = weights(model)
    yield model, optimizer
    assert all_moved(before, model)


def test_teardown_checks(checked):  # KKK -sKK
    step(*checked)


MODEL, OPTIMIZER = make(2)


def test_model_of_the_module():  # KKK -sKK
    before = weights(MODEL)
    step(MODEL, OPTIMIZER)
    assert all_moved(before, MODEL)


runs = []


def test_passes_once_only():  # ??? ????
    runs.append(1)
    step(*make())
    assert len(runs) == 1


def test_random_numbers_are_the_same():  # KKK sKsK
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=random.choice([0.1, 0.2]))  # noqa: S311
    first = step(model, optimizer)
    assert step(model, optimizer) < first


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_parametrised(name):  # KKK -sKK
    model, _ = make()
    before = weights(model)
    step(model, getattr(torch.optim, name)(model.parameters(), lr=0.1))
    assert all_moved(before, model)


class TestInAClass:
    @pytest.fixture(autouse=True)
    def _made(self):
        self.model, self.optimizer = make()

    def test_blind_method(self):  # sss -sss
        assert not hasattr(self, "stepped")
        self.stepped = step(self.model, self.optimizer)

    @settings(max_examples=5)
    @given(lr=st.floats(0.01, 0.1))
    def test_given_method(self, lr):  # KKK -sKK
        model, _ = make()
        before = weights(model)
        step(model, torch.optim.SGD(model.parameters(), lr=lr))
        assert all_moved(before, model)


class TestUnittest(unittest.TestCase):
    def setUp(self):
        self.model, self.optimizer = make()

    def test_learns(self):  # KKK sKsK
        first = step(self.model, self.optimizer)
        self.assertLess(step(self.model, self.optimizer), first)

    def test_unittest_subtests(self):  # KKK ssKK
        for number in range(2):
            with self.subTest(number=number):
                before = weights(self.model)
                step(self.model, self.optimizer)
                self.assertTrue(all_moved(before, self.model))


@settings(max_examples=5)
@given(lr=st.floats(0.01, 0.1))
def test_given_function(lr):  # KKK -sKK
    model, _ = make()
    before = weights(model)
    step(model, torch.optim.SGD(model.parameters(), lr=lr))
    assert all_moved(before, model)


def test_with_subtests(subtests):  # KKK -sKK
    model, optimizer = make()
    before = weights(model)
    step(model, optimizer)
    with subtests.test("moves"):
        assert all_moved(before, model)


def test_closure():  # KKK sKKK
    model, _ = make()
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=3)
    losses = []

    def closure():
        optimizer.zero_grad()
        loss = (model(torch.ones(2, 4)) - 1).pow(2).mean()
        loss.backward()
        losses.append(loss.item())
        return loss

    before = weights(model)
    optimizer.step(closure)
    assert all_moved(before, model)
    assert losses[-1] < losses[0]


@pytest.mark.xfail(reason="cannot notice anything")
def test_expected_to_fail():
    step(*make())
    pytest.fail("nobody noticed")


def test_without_training():
    assert True
