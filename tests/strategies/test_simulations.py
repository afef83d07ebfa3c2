"""What the simulated devices do that no device of a CPU-only machine does."""

import pytest
import torch
from hypothesis import strategies as st
from torch import nn

from pytest_trainstep import WeightsNotUpdated, assert_weights_update
from pytest_trainstep import strategies as ts

STRICT = st.just(ts.Device("strict"))


def step(model, optimizer, inputs, targets, loss_fn):
    optimizer.zero_grad()
    loss_fn(model(inputs), targets).backward()
    optimizer.step()


def no_step(model, optimizer, inputs, targets, loss_fn):
    loss_fn(model(inputs), targets).backward()


class Trainer:
    def __init__(self, model, lr, device):
        self.optimizer = torch.optim.SGD(model.parameters(), lr=lr)
        self.model = model.to(device)

    def step(self, *batch):
        step(self.model, self.optimizer, *batch)


def test_correct_step_passes_on_the_strict_device():
    ts.check_train_step(step, devices=STRICT, seed=0, max_examples=60)


def test_step_that_does_nothing_is_a_finding_on_the_strict_device():
    with pytest.raises(WeightsNotUpdated) as raised:
        ts.check_train_step(no_step, devices=STRICT, seed=0, max_examples=10)
    assert raised.value.finding.causes == ("no-step",)
    assert "TrainingSetup(device=Device('strict'))" in raised.value.__notes__[-1]


@pytest.mark.still
def test_optimizer_built_before_to_is_stale_on_the_strict_device():
    with pytest.raises(WeightsNotUpdated) as raised:
        ts.check_train_step(Trainer, shape="trainer", devices=STRICT, seed=0, max_examples=10)
    assert raised.value.finding.causes == ("stale-optimizer",)


def test_a_failing_step_is_put_back_on_the_strict_device():
    with ts.Device("strict") as device:
        model = nn.Linear(2, 1).to(device)
        inputs = torch.ones(3, 2, device=device)
        held = model.weight.tolist()
        with pytest.raises(WeightsNotUpdated):
            assert_weights_update(model, lambda: model(inputs).sum().backward())
        assert model.weight.tolist() == held


@pytest.mark.parametrize("make", [torch.tensor, torch.as_tensor, torch.asarray])
def test_strict_device_holds_the_numbers_of_a_literal(make):
    with ts.Device("strict") as device:
        assert make([1.0, 2.0], device=device).tolist() == [1.0, 2.0]
    assert make([1.0], device="meta").is_meta


def test_conversion_gives_parameters_memory_of_their_own_on_the_replacing_device():
    model = nn.Sequential(nn.Linear(2, 1))
    old = list(model.parameters())
    with ts.Device("replacing") as device:
        model.to(device)
    with torch.no_grad():
        for parameter in old:
            parameter.zero_()
    assert all(parameter.any() for parameter in model.parameters())


def test_shared_memory_stays_shared_on_the_replacing_device():
    model = nn.Linear(2, 1)
    with ts.Device("replacing"):
        model.share_memory()
    assert all(parameter.is_shared() for parameter in model.parameters())


def test_conversion_is_torch_s_own_after_the_replacing_device():
    model = nn.Linear(2, 1)
    weight, apply = model.weight, nn.Module._apply
    with ts.Device("replacing") as device:
        assert nn.Module._apply is not apply
        model.to(device)
    assert nn.Module._apply is apply
    assert model.to("cpu").weight is model.weight is not weight


def test_lazy_module_may_be_moved_to_the_replacing_device():
    with ts.Device("replacing") as device:
        model = nn.LazyLinear(1).to(device)
    assert model(torch.ones(1, 2)).shape == (1, 1)
