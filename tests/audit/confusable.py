"""Tests, all green, in which nothing moves for a reason that looks like another one; with healthy twins.

Not collected here: `test_thirty.py` copies it into a project of its own and runs it under the audit.
"""

import copy
import math
from unittest import mock

import pytest
import torch
from small import X, Y, make, train
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode


def train_two_groups(between):
    encoder, head = nn.Linear(2, 4), nn.Linear(4, 1)
    optimizer = torch.optim.SGD([{"params": encoder.parameters()}, {"params": head.parameters()}], lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.mse_loss(head(between(encoder(X))), Y).backward()
        optimizer.step()


# Zero, or cleared?


@pytest.mark.parametrize("between", [nn.Dropout(1.0), torch.round, lambda hidden: hidden * 0])
def test_one_group_gets_zeros(between):  # guilty: zero-gradient
    train_two_groups(between)


def test_both_groups_get_gradients():
    train_two_groups(torch.tanh)


def test_one_group_is_cleared_by_hand():  # guilty: gradients-cleared
    encoder, head = nn.Linear(2, 4), nn.Linear(4, 1)
    optimizer = torch.optim.SGD([{"params": encoder.parameters()}, {"params": head.parameters()}], lr=0.1)
    for _ in range(3):
        nn.functional.mse_loss(head(encoder(X)), Y).backward()
        encoder.zero_grad(set_to_none=False)
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("word", [0, 1])
def test_sparse_gradients_of_nothing(word):  # guilty: zero-gradient
    embedding = nn.Embedding(5, 3, padding_idx=0, sparse=True)
    optimizer = torch.optim.SparseAdam(embedding.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        (embedding(torch.full((2, 4), word)).square().sum() * (0 if word else 1)).backward()
        optimizer.step()


def test_sparse_gradients():
    embedding = nn.Embedding(5, 3, padding_idx=0, sparse=True)
    optimizer = torch.optim.SparseAdam(embedding.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        embedding(torch.ones(2, 4, dtype=torch.long)).square().sum().backward()
        optimizer.step()


# Cleared, or cut off?


@pytest.mark.parametrize("set_to_none", [True, False])
@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.LBFGS])
def test_the_closure_clears_at_its_end(kind, set_to_none):  # guilty: gradients-cleared
    model = make()
    optimizer = kind(model.parameters(), lr=0.1)

    def closure():
        loss = nn.functional.mse_loss(model(X), Y)
        loss.backward()
        optimizer.zero_grad(set_to_none=set_to_none)
        return loss

    for _ in range(3):
        optimizer.step(closure)


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.LBFGS])
def test_the_closure_clears_at_its_beginning(kind):
    model = make()
    optimizer = kind(model.parameters(), lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(X), Y)
        loss.backward()
        return loss

    for _ in range(3):
        optimizer.step(closure)


def test_a_hook_saves_memory():  # guilty: gradients-cleared
    model = make()
    for weight in model.parameters():
        weight.register_post_accumulate_grad_hook(lambda one: setattr(one, "grad", None))
    train(model, torch.optim.SGD(model.parameters(), lr=0.1))


def test_a_hook_steps_and_clears():
    model = make()
    optimizers = {weight: torch.optim.SGD([weight], lr=0.1) for weight in model.parameters()}

    def update(weight):
        optimizers[weight].step()
        weight.grad = None

    for weight in model.parameters():
        weight.register_post_accumulate_grad_hook(update)
    for _ in range(3):
        nn.functional.mse_loss(model(X), Y).backward()


# Cut off, or nobody's?


@pytest.fixture(scope="module")
def optimizer_of_a_dead_model():
    return torch.optim.SGD(make().parameters(), lr=0.1)


def test_the_model_of_the_fixture_is_gone(optimizer_of_a_dead_model):  # guilty: stale-optimizer
    train(make(), optimizer_of_a_dead_model)


def test_the_optimizer_has_a_copy_of_the_model():  # guilty: stale-optimizer
    model = make()
    train(model, torch.optim.SGD(copy.deepcopy(model).parameters(), lr=0.1))


def test_the_optimizer_is_a_copy():  # guilty: stale-optimizer
    model = make()
    train(model, copy.deepcopy(torch.optim.SGD(model.parameters(), lr=0.1)))


def test_model_and_optimizer_are_copied_together():
    model = make()
    model, optimizer = copy.deepcopy((model, torch.optim.SGD(model.parameters(), lr=0.1)))
    train(model, optimizer)


@pytest.mark.parametrize("model", [make(), nn.Linear(2, 1)])
def test_the_loss_is_that_of_another_model(model):  # guilty: other-model-trained
    other = copy.deepcopy(model)
    train(other, torch.optim.SGD(model.parameters(), lr=0.1))


def test_the_loss_is_cut_off_beside_a_model_that_trains():  # guilty: detached
    encoder, head, other = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 1)
    optimizers = [torch.optim.SGD(encoder.parameters(), lr=0.1), torch.optim.SGD(head.parameters(), lr=0.1)]
    for _ in range(3):
        other(head(encoder(X).detach())).sum().backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()


def test_a_tensor_without_a_model_waits_beside_others():
    model = make()
    optimizer = torch.optim.SGD([*model.parameters(), torch.zeros(3, requires_grad=True)], lr=0.1)
    train(model, optimizer, steps=3)


# Never backward, or backward elsewhere?


def test_gradients_are_returned_and_dropped():  # guilty: no-backward
    model = make()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        torch.autograd.grad(nn.functional.mse_loss(model(X), Y), tuple(model.parameters()))
        optimizer.step()


def test_gradients_are_returned_and_put_there():
    model = make()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        gradients = torch.autograd.grad(nn.functional.mse_loss(model(X), Y), tuple(model.parameters()))
        for weight, gradient in zip(model.parameters(), gradients, strict=True):
            weight.grad = gradient
        optimizer.step()


def test_a_mock_stands_for_the_step():
    model = make()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    optimizer.step = mock.Mock()
    train(model, optimizer)
    assert optimizer.step.call_count == 3


# Nothing moved, or it could not be seen?


class Sharded(nn.Parameter):
    """A parameter with data of its own, as frameworks have them."""


@pytest.mark.parametrize("wrap", [Sharded, lambda data: data.to_sparse().requires_grad_()])
def test_parameters_of_a_special_kind(wrap):
    weight = wrap(torch.ones(2, 2))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    (weight.to_dense() if weight.is_sparse else weight).sum().backward()
    optimizer.step()


def test_parameters_of_a_special_kind_stand_still():  # guilty: lr-zero
    weight = Sharded(torch.ones(2, 2))
    optimizer = torch.optim.SGD([weight], lr=0.0)
    weight.sum().backward()
    optimizer.step()


@pytest.mark.parametrize("shape", [{"device": "meta", "size": (2, 1)}, {"size": (0, 3)}])
def test_parameters_without_values(shape):
    weight = nn.Parameter(torch.empty(**shape))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    weight.sum().backward()
    optimizer.step()


@pytest.mark.parametrize("afterwards", [True, False])
def test_steps_are_counted(afterwards):
    model = make()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with FlopCounterMode(display=False):
        train(model, optimizer)
    if afterwards:
        optimizer.zero_grad()
        optimizer.step()


def test_functions_are_counted():
    class Counting(TorchFunctionMode):
        count = 0

        def __torch_function__(self, function, types, args=(), kwargs=None):
            self.count += 1
            return function(*args, **(kwargs or {}))

    model = make()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, foreach=False)
    train(model, optimizer)
    with Counting() as mode:
        optimizer.step()
    assert mode.count < 30


def test_the_class_is_mocked_before_anything_is_built():
    model = make()
    with mock.patch.object(torch.optim.SGD, "step", autospec=True) as step:
        train(model, torch.optim.SGD(model.parameters(), lr=0.1))
    assert step.call_count == 3


# Left over, or cleared in another way?


def clear_data(weight):
    weight.grad.data.zero_()


def clear_memory(weight):
    weight.grad.numpy().fill(0)


def halve(weight):
    weight.grad.mul_(0.5)  # a momentum


@pytest.mark.parametrize("clear", [clear_data, clear_memory, halve])
def test_gradients_are_cleared_or_kept_on_purpose(clear):
    model = make()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(4):
        nn.functional.mse_loss(model(X), Y).backward()
        optimizer.step()
        for weight in model.parameters():
            clear(weight)


def test_a_hook_of_the_optimizer_clears():
    model = make()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    optimizer.register_step_post_hook(lambda one, *_: one.zero_grad(set_to_none=False))
    for _ in range(4):
        nn.functional.mse_loss(model(X), Y).backward()
        optimizer.step()


class Windowed(torch.optim.SGD):
    """Steps at every second call."""

    calls = 0

    def step(self, closure=None):
        self.calls += 1
        return None if self.calls % 2 else super().step(closure)


def test_the_optimizer_accumulates_itself():
    model = make()
    optimizer = Windowed(model.parameters(), lr=0.1)
    for number in range(8):
        nn.functional.mse_loss(model(X), Y).backward()
        optimizer.step()
        if number % 2:
            optimizer.zero_grad()


def test_nothing_is_cleared():  # guilty: gradients-not-cleared
    model = make()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(4):
        nn.functional.mse_loss(model(X), Y).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()


# Never stepped, or stepped by hand?


def by_count(weight):
    with torch.no_grad():
        weight.sub_(0.1 * weight.grad)


def by_data(weight):
    weight.data -= 0.1 * weight.grad.data


@pytest.mark.parametrize("update", [by_count, by_data])
def test_the_optimizer_only_knows_the_rate(update):
    model = make()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    nn.functional.mse_loss(model(X), Y).backward()
    for weight in model.parameters():
        update(weight)
    assert optimizer.param_groups[0]["lr"] == 0.1


def test_the_optimizer_is_forgotten():  # guilty: no-step
    model = make()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    nn.functional.mse_loss(model(X), Y).backward()
    assert optimizer.param_groups[0]["lr"] == 0.1


# Became infinite, or always was?


@pytest.mark.parametrize("start", [-math.inf, 0.0])
def test_forbidden_from_the_beginning(start):
    bias = nn.Parameter(torch.tensor([0.0, start, 0.0]))
    optimizer = torch.optim.SGD([bias], lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        bias.softmax(0)[0].log().neg().backward()
        optimizer.step()


def test_forbidden_in_the_end():  # guilty: non-finite
    weight = nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    (weight - 1).abs().pow(0.5).sum().backward()
    optimizer.step()


def test_a_rate_that_learns():
    weight, rate = nn.Parameter(torch.ones(3)), torch.tensor(0.1, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=rate)
    weight.sum().backward()
    optimizer.step()
