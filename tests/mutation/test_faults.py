"""Each fault does what it says, counts when it makes a difference, and leaves torch as it was."""

import copy
import math

import pytest
import torch
from torch import nn

from pytest_trainstep._faults import FAULTS
from pytest_trainstep._watch import faults


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 1))


def loss_of(model):
    return (model(torch.ones(2, 4)) - 1).pow(2).mean()


def weights(model):
    return [tensor.detach().clone() for tensor in model.parameters()]


def moved(before, model):
    return [not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True)]


def train(model, optimizer):
    before = weights(model)
    optimizer.zero_grad()
    loss_of(model).backward()
    optimizer.step()
    return moved(before, model)


OPTIMIZERS = {
    "SGD": lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9),
    "Adam": lambda params: torch.optim.Adam(params, lr=0.1),
    "Adam on foreach": lambda params: torch.optim.Adam(params, lr=0.1, foreach=True),
    "AdamW with a tensor lr": lambda params: torch.optim.AdamW(params, lr=torch.tensor(0.1), foreach=False),
    "Rprop": lambda params: torch.optim.Rprop(params, lr=0.1),
}


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("fault", ["noop-step", "noop-backward", "zero-lr", "detached-loss"])
def test_nothing_moves_under_the_faults_that_stop_training(model, make, fault):
    optimizer = make(model.parameters())
    with faults.planted(fault) as planted:
        still = train(model, optimizer)
    if planted.applied:  # Rprop takes its step size from the lr once, and keeps it within bounds
        assert not any(still)
    assert planted.applied or (fault, type(optimizer)) == ("zero-lr", torch.optim.Rprop)
    assert all(train(model, optimizer))


@pytest.mark.parametrize("fault", FAULTS)
def test_torch_is_as_it_was_afterwards(model, fault):
    twin = copy.deepcopy(model)
    patched = (torch.autograd._engine_run_backward, torch.optim.Optimizer.zero_grad, nn.Module.zero_grad)
    with faults.planted(fault):
        pass
    assert patched == (torch.autograd._engine_run_backward, torch.optim.Optimizer.zero_grad, nn.Module.zero_grad)
    train(model, torch.optim.SGD(model.parameters(), lr=0.1))
    train(twin, torch.optim.SGD(twin.parameters(), lr=0.1))
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), twin.parameters(), strict=True))


@pytest.mark.still
def test_a_zero_lr_is_read_as_before_outside_of_the_step(model):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    with faults.planted("zero-lr"):
        train(model, optimizer)
        assert optimizer.param_groups[0]["lr"] == 0.1
        scheduler.step()
        assert optimizer.param_groups[0]["lr"] == 0.05


@pytest.mark.still
def test_a_step_that_raises_leaves_the_lr_for_the_next(model):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def fails():
        raise RuntimeError

    with faults.planted("zero-lr"):
        with pytest.raises(RuntimeError):
            optimizer.step(fails)
        train(model, optimizer)
        assert optimizer.param_groups[0]["lr"] == 0.1


@pytest.mark.still
def test_a_learning_rate_of_zero_is_no_place_for_a_fault(model):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    for fault in ("noop-step", "zero-lr"):
        with faults.planted(fault) as planted:
            train(model, optimizer)
        assert not planted.applied


def test_one_group_is_left_out_by_a_partial_step(model):
    optimizer = torch.optim.SGD([{"params": layer.parameters()} for layer in model], lr=0.1)
    with faults.planted("partial-step"):
        assert train(model, optimizer) == [True, True, False, False]


def test_one_parameter_in_four_is_left_out_where_there_is_one_group(model):
    with faults.planted("partial-step"):
        assert train(model, torch.optim.SGD(model.parameters(), lr=0.1)) == [True, True, True, False]


def test_a_single_parameter_is_never_left_out():
    weight = nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    with faults.planted("partial-step") as planted:
        weight.sum().backward()
        optimizer.step()
    assert not planted.applied
    assert weight[0] != 1


@pytest.mark.still
def test_stale_gradients_add_up_whoever_clears_them(model):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with faults.planted("stale-gradients") as planted:
        train(model, optimizer)
        assert not planted.applied  # nothing to clear yet
        first = model[0].weight.grad.clone()
        model.zero_grad()
        loss_of(model).backward()
    assert planted.applied
    assert torch.allclose(model[0].weight.grad, 2 * first)


def test_a_flipped_gradient_is_itself_again_after_the_step(model):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    loss = loss_of(model)
    loss.backward()
    kept = model[0].weight.grad
    values = kept.clone()
    with faults.planted("flipped-gradient") as planted:
        optimizer.step()
    assert planted.applied
    assert model[0].weight.grad is kept
    assert torch.equal(kept, values)
    assert loss_of(model) > loss


@pytest.mark.parametrize("by_name", [True, False])
def test_a_flipped_gradient_reaches_optimizers_that_call_a_closure(model, by_name):
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=3)
    losses = []

    def closure():
        optimizer.zero_grad()
        loss = loss_of(model)
        loss.backward()
        losses.append(loss.item())
        return loss

    with faults.planted("flipped-gradient") as planted:
        assert (optimizer.step(closure=closure) if by_name else optimizer.step(closure)) == losses[0]
    assert planted.applied
    assert losses[-1] > losses[0]


def test_a_gradient_that_is_not_finite_resists_a_learning_rate_of_zero(model):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with faults.planted("zero-lr") as planted:
        loss_of(model).backward()
        optimizer.step()
        assert (planted.applied, planted.resisted) == (1, False)
        (loss_of(model) * math.inf).backward()
        optimizer.step()
        assert (planted.applied, planted.resisted) == (1, True)


@pytest.mark.parametrize("fault", ["noop-step", pytest.param("zero-lr", marks=pytest.mark.still)])
def test_closures_are_called_and_weights_stay(model, fault):
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=3)
    before, calls = weights(model), []

    def closure():
        optimizer.zero_grad()
        loss = loss_of(model)
        loss.backward()
        calls.append(loss)
        return loss

    with faults.planted(fault) as planted:
        optimizer.step(closure)
    assert planted.applied
    assert calls
    assert not any(moved(before, model))


def test_a_detached_loss_breaks_autograd_grad_as_a_real_one_does(model):
    with faults.planted("detached-loss"), pytest.raises(RuntimeError, match="not have been used"):
        torch.autograd.grad(loss_of(model), list(model.parameters()))


def test_a_noop_backward_leaves_autograd_grad_alone(model):
    with faults.planted("noop-backward") as planted:
        torch.autograd.grad(loss_of(model), list(model.parameters()))
    assert not planted.applied


def test_what_torch_refuses_is_refused_with_a_fault_too(model):
    for fault in ("noop-backward", "detached-loss"):
        with faults.planted(fault), pytest.raises(RuntimeError, match="does not require grad"):
            loss_of(model).detach().backward()


def test_sparse_gradients_are_flipped_and_undone():
    embed = nn.Embedding(5, 2, sparse=True)
    before = embed.weight.detach().clone()
    for fault in ("flipped-gradient", "noop-step", "zero-lr"):
        optimizer = torch.optim.SparseAdam(embed.parameters(), lr=0.1)
        optimizer.zero_grad()
        embed(torch.tensor([1, 2])).sum().backward()
        with faults.planted(fault) as planted:
            optimizer.step()
        assert planted.applied
    assert (embed.weight[1] > before[1]).all()


def test_a_gradient_scaler_meets_the_faults():
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    before = weights(model)
    with faults.planted("noop-step") as planted:
        scaler.scale(model(torch.ones(2, 4)).mean()).backward()
        scaler.step(optimizer)
        scaler.update()
    assert planted.applied
    assert not any(moved(before, model))


def test_an_optimizer_inside_another_is_undone_once():
    class Wrapping(torch.optim.Optimizer):
        def __init__(self, inner):
            super().__init__(inner.param_groups, {})
            self.inner = inner

        def step(self, closure=None):
            return self.inner.step(closure)

    model = nn.Linear(4, 1)
    outer = Wrapping(torch.optim.SGD(model.parameters(), lr=0.1))
    before = weights(model)
    with faults.planted("noop-step") as planted:
        model(torch.ones(1, 4)).sum().backward()
        outer.step()
    assert planted.applied
    assert not any(moved(before, model))
