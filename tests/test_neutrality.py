"""Watching changes nothing: not a bit of a weight, a loss, an optimizer's state or a random stream."""

import contextlib
import copy
import random

import pytest
import torch
from torch import nn

from pytest_trainstep import WeightsNotUpdated, assert_weights_update, watch

np = pytest.importorskip("numpy")

OPTIMIZERS = {
    "momentum": lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9, nesterov=True),
    "adam": lambda params: torch.optim.Adam(params, lr=0.01),
    "fused": lambda params: torch.optim.Adam(params, lr=0.01, fused=True),
    "foreach": lambda params: torch.optim.AdamW(params, lr=0.01, foreach=True, weight_decay=0.1),
}


@pytest.fixture(params=[1, 2], ids=["one-thread", "two-threads"])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def seed():
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)


def streams():
    name, keys, *rest = np.random.get_state()
    return random.getstate(), name, keys.tobytes(), rest, torch.get_rng_state().numpy().tobytes()


def bits(value):
    """The very bits of a nest of tensors and numbers."""
    if isinstance(value, torch.Tensor):
        flat = value.detach().reshape(-1).contiguous()
        return str(value.dtype), tuple(value.shape), flat.view(torch.uint8).numpy().tobytes()
    if isinstance(value, dict):
        return {key: bits(item) for key, item in value.items()}
    return [bits(item) for item in value] if isinstance(value, list | tuple) else value


def training(optimizer, *, frozen_last=False):
    """A network with dropout, normalisation and clipping, and the step that trains it."""
    model = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Dropout(0.3), nn.ReLU(), nn.Linear(8, 2))
    held = model[:4].parameters() if frozen_last else model.parameters()
    optimizer = OPTIMIZERS[optimizer](held)
    losses = []

    def step():
        x = torch.randn(16, 4) + random.random() + float(np.random.rand())  # noqa: S311
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), torch.randint(2, (16,)))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())

    return model, optimizer, step, losses


def everything(model, optimizer, losses):
    gradients = [parameter.grad for parameter in model.parameters()]
    return bits([model.state_dict(), optimizer.state_dict(), losses, gradients]), streams()


def bare(name, **how):
    seed()
    model, optimizer, step, losses = training(name, **how)
    for _ in range(6):
        step()
    return everything(model, optimizer, losses)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_watched_run_is_bitwise_the_bare_run(name, threads):
    expected = bare(name)

    seed()
    model, optimizer, step, losses = training(name)
    with watch(model, buffers=True) as watched:
        for _ in range(6):
            step()

    assert everything(model, optimizer, losses) == expected
    assert watched.record.step_count == 6


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_claim_that_holds_leaves_the_bare_run(name):
    expected = bare(name)

    seed()
    model, optimizer, step, losses = training(name)
    assert_weights_update(model, step, steps=6)

    assert everything(model, optimizer, losses) == expected


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_claim_that_fails_and_looks_closer_leaves_the_bare_run(name):
    expected = bare(name, frozen_last=True)

    seed()
    model, optimizer, step, losses = training(name, frozen_last=True)
    with pytest.raises(WeightsNotUpdated) as caught:
        assert_weights_update(model, step, steps=6)

    assert caught.value.finding.record.reran
    assert len(losses) == 7
    del losses[6:]  # the list belongs to the test, not to the training
    assert everything(model, optimizer, losses) == expected


@pytest.mark.still
def test_underflow_is_looked_into_without_a_trace():
    seed()
    model = nn.Linear(4, 4, dtype=torch.bfloat16)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-9)

    def step():
        optimizer.zero_grad()
        model(torch.ones(2, 4, dtype=torch.bfloat16)).square().sum().backward()
        optimizer.step()

    twin = copy.deepcopy(model)
    other = torch.optim.Adam(twin.parameters(), lr=1e-9)
    twin(torch.ones(2, 4, dtype=torch.bfloat16)).square().sum().backward()
    other.step()
    before = streams()

    with pytest.raises(WeightsNotUpdated, match="update-underflow"):
        assert_weights_update(model, step)

    assert streams() == before
    assert bits(model.state_dict()) == bits(twin.state_dict())
    assert bits(optimizer.state_dict()["state"]) == bits(other.state_dict()["state"])


def test_watches_inside_watches_change_nothing_either():
    expected = bare("adam")

    seed()
    model, optimizer, step, losses = training("adam")
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(watch(model))
        for _ in range(6):
            step()

    assert everything(model, optimizer, losses) == expected
