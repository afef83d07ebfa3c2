"""The story of every gradient, as a watch records it step by step."""

import pytest
import torch
from torch import nn

from pytest_trainstep import watch


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def net():
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


def sgd(model):
    return torch.optim.SGD(model.parameters(), lr=0.1)


def loss_of(model):
    return model(torch.ones(5, 3)).square().mean()


def stories(record):
    """The gradients of the first parameter, step by step."""
    name = next(iter(record.parameters))
    return [
        next((word for word, names in step.gradients.items() if name in names), "fresh" if step.fresh else "none")
        for step in record.steps
    ]


def test_gradients_are_fresh_then_stale_then_mixed():
    model = net()
    optimizer = sgd(model)
    with watch(model) as watched:
        optimizer.step()
        loss_of(model).backward()
        optimizer.step()
        optimizer.step()
        loss_of(model).backward()
        optimizer.step()

    assert stories(watched.record) == ["none", "fresh", "stale", "mixed"]


def test_accumulated_gradients_are_fresh_and_their_window_is_counted():
    model = net()
    optimizer = sgd(model)
    with watch(model) as watched:
        for _ in range(3):
            loss_of(model).backward()
        optimizer.step()

    (step,) = watched.record.steps
    assert (step.fresh, step.window) == (4, 3)


@pytest.mark.still
@pytest.mark.parametrize(
    ("clear", "story"),
    [
        (lambda model, optimizer: optimizer.zero_grad(), "cleared"),
        (lambda model, optimizer: model.zero_grad(), "cleared"),
        (lambda model, optimizer: [setattr(one, "grad", None) for one in model.parameters()], "cleared"),
        (lambda model, optimizer: optimizer.zero_grad(set_to_none=False), "zeroed"),
        (lambda model, optimizer: [one.grad.zero_() for one in model.parameters()], "zeroed"),
        (lambda model, optimizer: nn.utils.clip_grad_norm_(model.parameters(), 0.0), "scaled-to-zero"),
    ],
    ids=["optimizer", "module", "by-hand", "optimizer-in-place", "zero_", "clipped"],
)
def test_what_happens_to_a_gradient_before_the_step_is_told_apart(clear, story):
    model = net()
    optimizer = sgd(model)
    with watch(model) as watched:
        loss_of(model).backward()
        clear(model, optimizer)
        optimizer.step()

    assert stories(watched.record) == [story]
    assert watched.record.parameters["2.weight"].gradient == story


@pytest.mark.still
def test_a_zero_gradient_after_cleared_ones_is_zero_and_not_zeroed():
    model = net()
    optimizer = sgd(model)
    with watch(model) as watched:
        loss_of(model).backward()
        optimizer.zero_grad()
        (loss_of(model) * 0).backward()
        optimizer.step()

    assert set(stories(watched.record)) <= {"zero", "scaled-to-zero"}
    assert watched.record.parameters["2.bias"].grad_max == 0


def test_gradients_that_are_assigned_are_manual_and_those_with_nan_not_finite():
    model = net()
    optimizer = sgd(model)
    with watch(model) as watched:
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        optimizer.zero_grad()
        (loss_of(model) * torch.nan).backward()
        optimizer.step()

    assert [list(step.gradients) or step.fresh for step in watched.record.steps] == [["manual"], 4]
    assert all(row.gradient_moved for row in watched.record.parameters.values())


def test_a_first_step_with_nan_is_called_not_finite():
    model = net()
    optimizer = sgd(model)
    with watch(model) as watched:
        (loss_of(model) * torch.nan).backward()
        optimizer.step()

    assert stories(watched.record) == ["non-finite"]
    assert not watched.record.parameters["0.weight"].finite
