"""Nothing is left behind: no hook, no patched name, no attribute, no reference, no graph; and nobody is in the way."""

import contextlib
import copy
import gc
import io
import pickle
import weakref

import pytest
import torch
from torch import nn

from pytest_trainstep import assert_weights_frozen, assert_weights_update, watch
from pytest_trainstep._watch import taps


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def net():
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))


def trained(model):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def step():
        optimizer.zero_grad()
        loss = model(torch.ones(2, 3)).square().sum()
        loss.backward()
        optimizer.step()
        return loss

    return optimizer, step


def places():
    """Everything of torch that a watch touches while it lasts."""
    from torch.optim import optimizer

    return (
        torch.autograd._engine_run_backward,
        torch.autograd.graph._engine_run_backward,
        torch.amp.GradScaler.step,
        torch.Tensor.backward,
        torch.autograd.backward,
        torch.optim.SGD.step,
        tuple(optimizer._global_optimizer_pre_hooks.values()),
        tuple(optimizer._global_optimizer_post_hooks.values()),
    )


def traces(model, optimizer):
    """What hangs on the user's own objects, in names and numbers."""
    modules = [
        (sorted(vars(one)), *(len(getattr(one, name)) for name in vars(one) if name.endswith("_hooks")))
        for one in model.modules()
    ]
    parameters = [
        (one._backward_hooks, one._post_accumulate_grad_hooks, vars(one), len(weakref.getweakrefs(one)))
        for one in model.parameters()
    ]
    return modules, parameters, sorted(vars(optimizer)), optimizer.step.__func__


@pytest.mark.usefixtures("nobody_else_listens")
def test_a_watch_leaves_every_place_as_it_was():
    model = net()
    optimizer, step = trained(model)
    step()
    before = places(), traces(model, optimizer)

    with watch(model, buffers=True):
        assert places() != before[0]
        assert traces(model, optimizer) == before[1]  # even inside, nothing hangs on the user's objects
        step()

    assert (places(), traces(model, optimizer)) == before


def test_failed_claims_leave_every_place_as_it_was():
    model = net()
    _optimizer, step = trained(model)
    model[0].register_parameter("idle", nn.Parameter(torch.ones(1)))
    model[0].weight.register_hook(lambda grad: grad)
    step()
    before = places()
    hooks = [len(one._backward_hooks or ()) for one in model.parameters()]

    with pytest.raises(AssertionError, match="not-in-optimizer"):
        assert_weights_update(model, step)
    with pytest.raises(AssertionError, match="frozen-in-optimizer"):
        assert_weights_frozen(model, step, only=["2.*"])

    assert places() == before
    assert [len(one._backward_hooks or ()) for one in model.parameters()] == hooks
    assert not any(one._forward_pre_hooks or one._forward_hooks for one in model.modules())


@pytest.mark.usefixtures("nobody_else_listens")
@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt(), StopIteration(), GeneratorExit()], ids=repr)
def test_an_exception_of_the_body_passes_unchanged_and_everything_is_detached(error):
    model = net()
    optimizer, step = trained(model)
    before = places(), traces(model, optimizer)

    def broken():
        step()
        raise error

    with pytest.raises(type(error)) as caught:
        assert_weights_update(model, broken)

    assert caught.value is error
    assert not getattr(error, "__notes__", [])
    assert (places(), traces(model, optimizer)) == before
    assert_weights_update(model, step)


def test_an_exception_inside_a_watch_passes_unchanged():
    error, before = RuntimeError("mine"), places()

    with pytest.raises(RuntimeError) as caught, watch(net()):
        raise error

    assert caught.value is error
    assert places() == before


def test_watches_may_end_in_any_order():
    model, before = net(), places()
    _, step = trained(model)
    outer, inner = watch(model), watch(model)
    first = outer.__enter__()
    second = inner.__enter__()
    step()
    outer.__exit__(None, None, None)
    step()
    inner.__exit__(None, None, None)

    assert (first.record.step_count, second.record.step_count) == (1, 2)
    assert places() == before


def test_patches_of_others_are_left_alone(monkeypatch):
    model = net()
    _, step = trained(model)
    with watch(model):
        ours = torch.amp.GradScaler.step

        def theirs(self, *args, **kwargs):
            return ours(self, *args, **kwargs)

        torch.amp.GradScaler.step = theirs

    try:
        assert torch.amp.GradScaler.step is theirs
        step()
    finally:
        torch.amp.GradScaler.step = ours.__wrapped__


@pytest.mark.usefixtures("nobody_else_listens")
def test_tensors_can_be_swapped_inside_and_after():
    model = net()
    _, step = trained(model)
    step()
    with watch(model):
        step()
        torch.utils.swap_tensors(model[0].weight, nn.Parameter(torch.ones(4, 3)))
    torch.utils.swap_tensors(model[2].weight, nn.Parameter(torch.ones(1, 4)))

    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        with watch(model):
            model.double()
        model.float()
    finally:
        torch.__future__.set_swap_module_params_on_conversion(False)


def living_nodes():
    """Tensors with a graph behind them, and nodes of graphs: never `isinstance`, which wakes up proxies."""
    gc.collect()
    things = gc.get_objects()
    tensors = [thing for thing in things if issubclass(type(thing), torch.Tensor)]
    nodes = [thing for thing in things if issubclass(type(thing), torch.autograd.graph.Node)]
    return sum(one.grad_fn is not None for one in tensors) + len(nodes)


def test_no_graph_is_kept_alive():
    model = net()
    _, step = trained(model)
    step()
    before = living_nodes()
    with watch(model):
        for _ in range(3):
            step()
        inside = living_nodes()
    record = assert_weights_update(model, step, steps=3)

    assert (inside, living_nodes()) == (before, before)
    assert record.step_count == 3


def test_a_record_and_a_finding_keep_no_tensor_alive():
    model = net()
    _, step = trained(model)
    model.idle = nn.Linear(1, 1)
    refs = [weakref.ref(one) for one in model.parameters()]
    with pytest.raises(AssertionError) as caught:
        assert_weights_update(model, step)
    finding = caught.value.finding
    del caught, model, step, _
    gc.collect()

    assert [ref() for ref in refs] == [None] * len(refs)
    assert "not-in-optimizer" in str(finding)


@pytest.mark.usefixtures("nobody_else_listens")
def test_copies_and_files_made_inside_carry_nothing_of_ours():
    model = net()
    optimizer, step = trained(model)
    with watch(model) as watched:
        step()
        twin = copy.deepcopy(model)
        other = copy.deepcopy(optimizer)
        buffer = io.BytesIO()
        torch.save({"model": model, "optimizer": optimizer.state_dict()}, buffer)
        blobs = [buffer.getvalue(), pickle.dumps(model), pickle.dumps(optimizer)]
        _, step_twin = trained(twin)
        step_twin()

    assert not any(b"trainstep" in blob for blob in blobs)
    assert pickle.loads(blobs[2]).param_groups[0]["lr"] == 0.1  # noqa: S301 - our own bytes
    assert traces(twin, other)[1] == [(None, None, {}, 0)] * 4
    assert watched.record.optimizers[0].watched == 4


def test_a_step_of_a_copy_of_the_optimizer_is_heard():
    model = net()
    optimizer, step = trained(model)
    step()
    twin = copy.copy(optimizer)
    with watch(model) as watched:
        model(torch.ones(2, 3)).sum().backward()
        twin.step()

    assert watched.record.step_count == 1


def test_nothing_listens_after_threads_have_come_and_gone():
    from concurrent.futures import ThreadPoolExecutor

    before = places()

    def work(_):
        model = net()
        _, step = trained(model)
        with contextlib.suppress(ValueError), watch(model):
            step()
            raise ValueError
        return assert_weights_update(model, step).step_count

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(work, range(6))) == [1] * 6

    assert places() == before
    assert not taps._watchers
