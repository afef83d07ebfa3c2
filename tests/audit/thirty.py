"""A suite of thirty tests, all green. Ten train nothing, or not what they say; each is marked with its cause.

Not collected here: `test_thirty.py` copies it into a project of its own and runs it under the audit.
"""

import unittest

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small import X, Y, make, train
from torch import nn

# Ten that are silently broken.


def test_backward_forgotten():  # guilty: no-backward
    model = make()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        nn.functional.mse_loss(model(X), Y)
        optimizer.step()


def test_cleared_at_the_wrong_place():  # guilty: gradients-cleared
    model = make()
    optimizer = torch.optim.Adam(model.parameters())
    for _ in range(3):
        nn.functional.mse_loss(model(X), Y).backward()
        optimizer.zero_grad()
        optimizer.step()


def test_step_comes_first():  # guilty: step-before-backward
    model = make()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    optimizer.zero_grad()
    optimizer.step()
    nn.functional.mse_loss(model(X), Y).backward()


def test_learning_rate_is_zero():  # guilty: lr-zero
    model = make()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: epoch // 10)
    for _ in range(3):
        train(model, optimizer, 1)
        scheduler.step()


def test_head_was_replaced():  # guilty: stale-optimizer
    model = make()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model[2] = nn.Linear(4, 1)
    train(model, optimizer)


def test_loss_is_rebuilt_from_its_value():  # guilty: detached
    model = make()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        torch.tensor(nn.functional.mse_loss(model(X), Y).item(), requires_grad=True).backward()
        optimizer.step()


def test_update_is_too_small_for_the_dtype():  # guilty: update-underflow
    model = make().to(torch.bfloat16)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(1.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
    for _ in range(3):
        optimizer.zero_grad()
        model(X.to(torch.bfloat16)).sum().backward()
        optimizer.step()


def test_gradients_pile_up():  # guilty: gradients-not-cleared
    model = make()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(5):
        nn.functional.mse_loss(model(X), Y).backward()
        optimizer.step()


class TestDead:
    def test_relu_is_dead(self):  # guilty: zero-gradient
        model = nn.Sequential(nn.Linear(2, 4), nn.ReLU())
        with torch.no_grad():
            model[0].bias.fill_(-10.0)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(2):
            optimizer.zero_grad()
            model(X).sum().backward()
            optimizer.step()


class Unit(unittest.TestCase):
    def setUp(self):
        self.model = make()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)

    def test_step_forgotten(self):  # guilty: no-step
        self.optimizer.zero_grad()
        nn.functional.mse_loss(self.model(X), Y).backward()

    def test_healthy(self):
        train(self.model, self.optimizer)


# Twenty that are healthy, or do not train at all.


def test_plain():
    model = make()
    train(model, torch.optim.SGD(model.parameters(), lr=0.1))


def test_cleared_in_place():
    model = make()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(4):
        optimizer.zero_grad(set_to_none=False)
        nn.functional.mse_loss(model(X), Y).backward()
        optimizer.step()


@pytest.mark.parametrize("name", ["Adam", "AdamW", "RMSprop"])
def test_optimizers(name):
    model = make()
    train(model, getattr(torch.optim, name)(model.parameters(), lr=0.01))


def test_accumulation_window():
    model = make()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for number in range(1, 9):
        nn.functional.mse_loss(model(X), Y).backward()
        if number % 4 == 0:
            optimizer.step()
            optimizer.zero_grad()


def test_warm_up_begins_at_zero():
    model = make()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: epoch / 10)
    for _ in range(3):
        train(model, optimizer, 1)
        scheduler.step()


def test_closure():
    model = make()
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(X), Y)
        loss.backward()
        return loss

    for _ in range(2):
        optimizer.step(closure)


def test_two_networks():
    generator, discriminator = make(1), nn.Linear(1, 1)
    first = torch.optim.SGD(generator.parameters(), lr=0.1)
    second = torch.optim.SGD(discriminator.parameters(), lr=0.1)
    for _ in range(3):
        first.zero_grad()
        discriminator(generator(X)).sum().backward()
        first.step()
        second.zero_grad()
        discriminator(generator(X).detach()).sum().backward()
        second.step()


def test_frozen_backbone():
    model = make()
    model[0].requires_grad_(requires_grad=False)
    groups = [{"params": list(model[0].parameters())}, {"params": list(model[2].parameters())}]
    train(model, torch.optim.SGD(groups, lr=0.1))


def test_scaler_skips_once():
    model = make()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**4)
    for factor in (float("inf"), 1.0, 1.0):
        optimizer.zero_grad()
        scaler.scale(nn.functional.mse_loss(model(X), Y) * factor).backward()
        scaler.step(optimizer)
        scaler.update()


def test_gradients_by_hand():
    weight = nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    weight.grad = torch.ones(3)
    for _ in range(3):
        optimizer.step()


@pytest.fixture(scope="module")
def trained():
    model = make()
    train(model, torch.optim.SGD(model.parameters(), lr=0.1), steps=5)
    return model


def test_fixture_first(trained):
    assert trained(X).shape == (6, 1)


def test_fixture_second(trained):
    assert trained(X).isfinite().all()


@given(st.sampled_from([1e-1, 1e-2, 1e-3]))
@settings(max_examples=5, deadline=None, derandomize=True, database=None)
def test_any_learning_rate(lr):
    model = make()
    train(model, torch.optim.SGD(model.parameters(), lr=lr))


def test_no_optimizer():
    nn.functional.mse_loss(make()(X), Y).backward()


def test_only_built():
    assert torch.optim.SGD(make().parameters(), lr=0.1).param_groups


def test_no_torch():
    assert 1 + 1 == 2


def test_ema():
    model, shadow = make(), make(1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    train(model, optimizer)
    with torch.no_grad():
        for old, new in zip(shadow.parameters(), model.parameters(), strict=True):
            old.lerp_(new, 0.1)
