"""The classic bugs, each beside its healthy twin; the planted ones must fail, and for the right cause."""

import pytest
import torch
from torch import nn

from pytest_trainstep import GradientsNotFresh, assert_gradients_fresh, assert_weights_update

from .planted import noted, planted

pytestmark = pytest.mark.trainstep(seed=0)


@pytest.fixture
def model():
    return nn.Linear(10, 1)


@pytest.fixture
def classifier():
    return nn.Sequential(nn.Linear(10, 8), nn.ReLU(), nn.Linear(8, 10))


@pytest.fixture
def batch():
    return torch.randn(16, 10), torch.randn(16, 1)


@pytest.fixture
def labelled(batch):
    inputs, _ = batch
    return inputs, torch.randint(0, 2, (16,))


def train_step(model, optimizer, batch):
    inputs, targets = batch
    loss = nn.MSELoss()(model(inputs), targets)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss


def classify_step(model, optimizer, batch):
    inputs, labels = batch
    loss = nn.CrossEntropyLoss()(model(inputs), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss


# -- the backward pass is forgotten


def train_step_without_backward(model, optimizer, batch):
    inputs, targets = batch
    loss = nn.MSELoss()(model(inputs), targets)
    optimizer.zero_grad()
    optimizer.step()
    return loss


def test_step_with_backward(model, batch):
    optimizer = torch.optim.Adam(model.parameters())
    assert_weights_update(model, lambda: train_step(model, optimizer, batch))


@planted("no-backward")
def test_step_without_backward(model, batch):
    optimizer = torch.optim.Adam(model.parameters())
    assert_weights_update(model, lambda: train_step_without_backward(model, optimizer, batch))


# -- the learning rate is 0


@pytest.mark.parametrize("lr", [1e-1, 1e-3, 1e-5])
def test_every_learning_rate_trains(model, batch, lr):
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    assert_weights_update(model, lambda: train_step(model, optimizer, batch))


@planted("lr-zero")
def test_learning_rate_of_zero(model, batch):
    optimizer = torch.optim.Adam(model.parameters(), lr=0.0)
    assert_weights_update(model, lambda: train_step(model, optimizer, batch))


# -- the optimizer holds the wrong parameters


def test_optimizer_built_after_the_head_was_replaced(classifier, labelled):
    classifier[2] = nn.Linear(8, 2)
    optimizer = torch.optim.Adam(classifier.parameters())
    assert_weights_update(classifier, lambda: classify_step(classifier, optimizer, labelled))


@planted("stale-optimizer")
def test_optimizer_built_before_the_head_was_replaced(classifier, labelled):
    optimizer = torch.optim.Adam(classifier.parameters())
    classifier[2] = nn.Linear(8, 2)
    assert_weights_update(classifier, lambda: classify_step(classifier, optimizer, labelled))


@planted("not-in-optimizer")
def test_optimizer_over_one_layer_of_two(classifier, labelled):
    optimizer = torch.optim.Adam(classifier[2].parameters())
    assert_weights_update(classifier, lambda: classify_step(classifier, optimizer, labelled))


def test_one_layer_of_two_on_purpose(classifier, labelled):
    optimizer = torch.optim.Adam(classifier[2].parameters())
    assert_weights_update(classifier, lambda: classify_step(classifier, optimizer, labelled), frozen=["0.*"])


# -- the loss is not a scalar: torch says so itself, and a note says what to do


def train_step_with_a_loss_for_each_sample(model, optimizer, batch):
    inputs, targets = batch
    loss = nn.MSELoss(reduction="none")(model(inputs), targets)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


@noted("loss.mean()", raises=RuntimeError)
def test_loss_that_is_not_a_scalar(model, batch):
    optimizer = torch.optim.Adam(model.parameters())
    assert_weights_update(model, lambda: train_step_with_a_loss_for_each_sample(model, optimizer, batch))


# -- zero_grad() is forgotten: the weights do move, so that claim holds; that the gradients are fresh is another


def train_step_without_zero_grad(model, optimizer, batch):
    inputs, targets = batch
    loss = nn.MSELoss()(model(inputs), targets)
    loss.backward()
    optimizer.step()
    return loss


def test_five_steps_with_zero_grad(model, batch):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    assert_weights_update(model, lambda: train_step(model, optimizer, batch), steps=5)


def test_five_steps_without_zero_grad_move_the_weights(model, batch):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    assert_weights_update(model, lambda: train_step_without_zero_grad(model, optimizer, batch), steps=5)


def test_five_steps_with_zero_grad_use_fresh_gradients(model, batch):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    record = assert_gradients_fresh(model, lambda: train_step(model, optimizer, batch), steps=5)
    assert all(row.moved for row in record.parameters.values())  # no gradient at all is not stale either


@planted("gradients-not-cleared", raises=GradientsNotFresh)
def test_five_steps_without_zero_grad_use_old_gradients(model, batch):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    assert_gradients_fresh(model, lambda: train_step_without_zero_grad(model, optimizer, batch), steps=5)
