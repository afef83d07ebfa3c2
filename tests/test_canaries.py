"""The private names that the watch leans on: each exists, and each has a fallback that works when it is gone."""

import math
import sys

import pytest
import torch
from torch import nn

from pytest_trainstep import assert_weights_update, watch
from pytest_trainstep._watch import measures, snapshots, taps


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def trained(model, **options):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, **options)

    def step():
        optimizer.zero_grad()
        model(torch.ones(2, 3)).square().sum().backward()
        optimizer.step()

    return step


# The names.


PRIVATE = {
    "autograd._engine_run_backward": lambda: torch.autograd,
    "graph._engine_run_backward": lambda: torch.autograd.graph,
    "torch._disable_dynamo": lambda: torch,
    "torch._foreach_copy_": lambda: torch,
    "torch._foreach_norm": lambda: torch,
    "tensor._version": lambda: torch.ones(1),
    "tensor._backward_hooks": lambda: torch.ones(1),
    "tensor._post_accumulate_grad_hooks": lambda: torch.ones(1),
    "sparse._values": lambda: torch.ones(1).to_sparse(),
    "module._parameters": lambda: nn.Linear(1, 1),
    "module._buffers": lambda: nn.Linear(1, 1),
    "module._modules": lambda: nn.Linear(1, 1),
    "compiled._orig_mod": lambda: torch.compile(nn.Linear(1, 1), backend="eager"),
    "scaler._per_optimizer_states": lambda: torch.amp.GradScaler("cpu"),
    "sys._getframe": lambda: sys,
}


@pytest.mark.parametrize("name", PRIVATE)
def test_a_private_name_is_still_there(name):
    assert hasattr(PRIVATE[name](), name.split(".")[1])


def test_tables_of_modules_are_dictionaries():
    model = nn.BatchNorm1d(2)

    assert all(isinstance(table, dict) for table in (model._parameters, model._buffers, model._modules))


def test_the_engine_is_asked_by_every_public_way():
    x = torch.ones(2, requires_grad=True)
    heard = []

    class Listener:
        def __init__(self):
            self.notes = []

        def before_backward(self, _roots):
            heard.append("backward")

        def after_backward(self, _token, _error):
            """Nothing to do."""

        def differentiated(self, _inputs):
            heard.append("grad")

    listener = Listener()
    taps.attach(listener)
    try:
        x.sum().backward()
        torch.autograd.backward(x.sum())
        torch.autograd.grad(x.sum(), x)
        torch.func.grad(torch.sum)(torch.ones(2))
    finally:
        taps.detach(listener)

    assert heard == ["backward", "backward", "grad", "grad"]
    assert listener.notes == []


def test_optimizers_of_torch_say_whether_they_can_be_heard():
    optimizer = torch.optim.SGD([torch.ones(1)], lr=0.1)

    assert type(optimizer).step.hooked is True
    assert callable(type(optimizer).step.__wrapped__)
    assert "_optimizer_step_pre_hooks" in vars(optimizer)
    torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    assert hasattr(vars(optimizer)["step"], "_wrapped_by_lr_sched")


@pytest.mark.still
def test_the_wrapper_around_step_is_found_on_the_stack():
    from pytest_trainstep._watch import sites

    seen = []

    class Looking(torch.optim.SGD):
        def step(self, _closure=None):
            seen.append((sites.step_frame(), sites.is_running(sites.step_frame())))

    Looking([torch.ones(1)], lr=0.1).step()

    assert seen == [(seen[0][0], True)]
    assert seen[0][0] != 0
    assert not sites.is_running(seen[0][0])
    assert sites.step_frame() == 0


def test_a_scaler_tells_what_it_found():
    parameter = torch.ones(1, requires_grad=True)
    optimizer, scaler = torch.optim.SGD([parameter], lr=0.1), torch.amp.GradScaler("cpu")
    scaler.scale(parameter.sum() * torch.inf).backward()
    scaler.step(optimizer)

    assert taps.found_inf(scaler, optimizer) is True
    assert taps.found_inf(scaler, object()) is False


# The fallbacks.


@pytest.mark.usefixtures("nobody_else_listens")
def test_without_the_engines_name_the_public_functions_are_heard(monkeypatch):
    monkeypatch.delattr(torch.autograd.graph, "_engine_run_backward")
    originals = torch.Tensor.backward, torch.autograd.backward
    model = nn.Linear(3, 1)
    step = trained(model)
    with watch(model) as watched:
        assert (torch.Tensor.backward, torch.autograd.backward) != originals
        step()
        torch.autograd.backward([model(torch.ones(2, 3)).sum()])
        with pytest.raises(RuntimeError, match="scalar"):
            model(torch.ones(2, 3)).backward()

    record = watched.record
    assert record.backward_count == 2
    assert [one.roots for one in record.backwards] == [("SumBackward0",)] * 2
    assert [step.fresh for step in record.steps] == [2]
    assert "scalar" in record.failed_backward
    assert (torch.Tensor.backward, torch.autograd.backward) == originals


def test_without_disable_dynamo_the_public_function_serves(monkeypatch):
    monkeypatch.delattr(torch, "_disable_dynamo")
    model = nn.Linear(3, 1)

    assert assert_weights_update(model, trained(model)).step_count == 1


@pytest.mark.parametrize("how", ["gone", "refuses"])
def test_without_the_foreach_functions_the_loops_serve(monkeypatch, how):
    def refuse(*_args):
        raise NotImplementedError

    for name in ("_foreach_copy_", "_foreach_norm"):
        if how == "gone":
            monkeypatch.delattr(torch, name)
        else:
            monkeypatch.setattr(torch, name, refuse)
    model = nn.Linear(3, 1)
    record = assert_weights_update(model, trained(model, foreach=False))

    assert record.parameters["weight"].elements_changed == 3
    kept = snapshots.take([torch.tensor([1.0, 2.0])])[0]
    assert kept.copy.tolist() == [1.0, 2.0]
    biggest = measures.largest([torch.tensor([1.0, -3.0]), torch.tensor([math.nan]), torch.tensor([math.inf, 1.0])])
    assert biggest[0] == 3
    assert math.isnan(biggest[1])
    assert biggest[2] == math.inf


def test_without_the_states_of_a_scaler_a_skip_is_only_not_heard(monkeypatch):
    monkeypatch.setattr(taps, "found_inf", lambda scaler, optimizer: False)
    model = nn.Linear(3, 1)
    optimizer, scaler = torch.optim.SGD(model.parameters(), lr=0.1), torch.amp.GradScaler("cpu")
    with watch(model) as watched:
        scaler.scale(model(torch.ones(2, 3)).sum() * torch.inf).backward()
        scaler.step(optimizer)

    assert watched.record.step_count == 0
    assert watched.record.notes == ()


def test_a_scaler_without_states_has_found_nothing():
    assert taps.found_inf(object(), object()) is False


def test_without_gradscaler_watching_goes_on(monkeypatch):
    monkeypatch.delattr(torch.amp, "GradScaler")
    model = nn.Linear(3, 1)

    assert assert_weights_update(model, trained(model)).step_count == 1


def test_without_versions_gradients_still_have_a_story():
    parameter = torch.ones(2, requires_grad=True)
    with torch.inference_mode():
        gradient = torch.ones(2)
    parameter.grad = gradient
    model = nn.Module()
    model.weight = nn.Parameter(torch.ones(2))
    with watch(model) as watched:
        model.weight.grad = gradient
        torch.optim.SGD(model.parameters(), lr=0.1).step()

    assert watched.record.parameters["weight"].moved


def test_without_the_wrappers_frame_steps_still_count(monkeypatch):
    from pytest_trainstep._watch import sites

    monkeypatch.setattr(sites, "_step_frames", lambda: iter(()))
    model = nn.Linear(3, 1)
    record = assert_weights_update(model, trained(model), steps=2)

    assert record.step_count == 2
