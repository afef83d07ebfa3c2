"""Looking closer runs the step once more, and puts everything back bit for bit, whatever that run does."""

import copy
import random

import pytest
import torch
from torch import nn

from pytest_trainstep import WeightsNotUpdated, assert_weights_update
from pytest_trainstep._watch.restore import Memory, keep, random_states


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def bits(value):
    if isinstance(value, torch.Tensor):
        dense = value.detach().to_dense() if value.layout is not torch.strided else value.detach()
        return dense.reshape(-1).contiguous().view(torch.uint8).tolist()
    if isinstance(value, dict):
        return {key if isinstance(key, str | int) else id(key): bits(item) for key, item in value.items()}
    return [bits(item) for item in value] if isinstance(value, list | tuple) else value


class Net(nn.Module):
    """A model with everything that a step may alter, and one layer that nobody trains."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
        self.table = nn.Embedding(5, 4, sparse=True)
        self.idle = nn.Linear(1, 1)
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def forward(self, x):
        return self.body(x) + self.table(torch.tensor([0, 2]))


def training(model):
    dense = [*model.body.parameters(), *model.idle.parameters()]
    first = torch.optim.Adam(dense, lr=torch.tensor(0.01), weight_decay=0.1)
    second = torch.optim.SparseAdam(model.table.parameters(), lr=0.01)

    def step():
        model.train()
        for optimizer in (first, second):
            optimizer.zero_grad()
        model(torch.randn(2, 3)).square().sum().backward()
        for optimizer in (first, second):
            optimizer.step()
            optimizer.param_groups[0]["lr"] *= 0.5
        model.count += 1
        model.eval()

    return (first, second), step


def state(model, optimizers):
    return (
        bits(model.state_dict()),
        [bits(one.state_dict()) for one in optimizers],
        [one.grad is None or bits(one.grad) for one in model.parameters()],
        [one.training for one in model.modules()],
        [one.requires_grad for one in model.parameters()],
        [id(one) for one in (*model.parameters(), *model.buffers())],
        torch.get_rng_state().tolist(),
        random.getstate(),
        torch.is_grad_enabled(),
    )


def failing(model, step, *, after=1, spoil=None, **arguments):
    """Make a claim that fails; return the finding and the states before and after the second run."""
    seen, calls = {"optimizers": arguments.pop("optimizers")}, []

    def watched():
        calls.append(1)
        if len(calls) <= after:
            step()
            seen["before"] = state(model, seen["optimizers"])
            return
        step()
        if spoil is not None:
            spoil()

    with pytest.raises(WeightsNotUpdated) as caught:
        assert_weights_update(model, watched, steps=after, **arguments)
    return caught.value.finding, seen["before"], state(model, seen["optimizers"]), len(calls)


def stop():
    raise StopIteration


def fail():
    pytest.fail("mine")


def close():
    raise SystemExit


SPOILERS = {
    "nothing": lambda model: None,
    "raises": lambda model: {}["missing"],
    "stops": lambda model: stop(),
    "fails": lambda model: fail(),
    "exits": lambda model: close(),
    "replaces a parameter": lambda model: setattr(model.body[0], "weight", nn.Parameter(torch.ones(4, 3))),
    "replaces a buffer": lambda model: setattr(model, "count", torch.ones(())),
    "writes data": lambda model: setattr(model.body[0].weight, "data", torch.ones(4, 3)),
    "freezes": lambda model: model.requires_grad_(False),
    "drops gradients": lambda model: model.zero_grad(),
    "turns gradients off": lambda model: torch.set_grad_enabled(False),
    "draws": lambda model: (random.random(), torch.rand(3)),  # noqa: S311
    "converts": lambda model: model.double(),
}


@pytest.mark.parametrize("spoiler", SPOILERS)
def test_everything_is_put_back(spoiler):
    model = Net()
    optimizers, step = training(model)

    def spoil():
        SPOILERS[spoiler](model)

    finding, before, after, calls = failing(model, step, after=2, spoil=spoil, optimizers=optimizers)

    assert calls == 3
    assert after == before
    assert set(finding.parameters) == {"idle.weight", "idle.bias"}
    refused = spoiler in {"raises", "stops", "fails", "exits"}
    assert finding.record.reran is not refused
    if refused:
        assert str(finding).count("the step could not be run once more to look closer: ") == 1


def test_an_interrupt_by_the_user_is_not_swallowed_and_all_is_put_back():
    model = Net()
    optimizers, step = training(model)
    calls = []

    def impatient():
        calls.append(1)
        if len(calls) == 1:
            step()
            calls.append(state(model, optimizers))
            return
        step()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        assert_weights_update(model, impatient)

    assert state(model, optimizers) == calls[1]


def test_the_second_run_sees_what_the_first_one_could_not():
    model = nn.ModuleDict({"encoder": nn.Linear(3, 2), "head": nn.Linear(2, 1)})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step():
        optimizer.zero_grad()
        model["head"](model["encoder"](torch.ones(1, 3)).detach()).sum().backward()
        optimizer.step()

    with pytest.raises(WeightsNotUpdated) as closer:
        assert_weights_update(model, step)
    with pytest.raises(WeightsNotUpdated) as glance:
        assert_weights_update(model, step, rerun=False)

    assert "the graph ends at `detach` at " in str(closer.value)
    assert "detached or unused, probably detached" in str(glance.value)
    assert closer.value.finding.causes == glance.value.finding.causes == ("detached",)


def test_compiled_models_are_looked_at_too():
    model = nn.ModuleDict({"used": nn.Linear(3, 2), "idle": nn.Linear(2, 1)})
    forward = torch.compile(model["used"], backend="eager")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step():
        forward(torch.ones(1, 3)).sum().backward()
        optimizer.step()

    with pytest.raises(WeightsNotUpdated) as caught:
        assert_weights_update(model, step)
    torch.compiler.reset()

    assert caught.value.finding.causes == ("unused",)
    assert set(caught.value.finding.parameters) == {"idle.weight", "idle.bias"}


# The rooms behind it.


def test_a_memory_writes_into_the_same_tensors():
    model = nn.Linear(2, 2)
    model.weight.grad = torch.ones(2, 2)
    kept, grad = model.weight, model.weight.grad
    memory = Memory([model])
    with torch.no_grad():
        model.weight.mul_(2)
        model.weight.grad.mul_(3)
    model.weight.grad = None
    memory.restore()

    assert model.weight is kept
    assert model.weight.grad is grad
    assert grad.tolist() == [[1, 1], [1, 1]]


def test_restoring_does_not_touch_the_users_graph():
    model = nn.Linear(2, 1)
    memory = Memory([model])
    loss = model(torch.ones(1, 2)).square().sum()
    memory.restore()
    loss.backward()  # no complaint about a tensor that was modified in place

    assert model.weight.grad is not None


def test_nests_keep_their_identities():
    tensor, inner = torch.ones(2), [1, {"a": torch.zeros(1)}]
    nest = {"t": tensor, "l": inner, "n": 3}
    back = keep(nest)
    tensor.add_(1)
    inner[1]["a"].add_(1)
    inner.append(2)
    nest["n"], nest["new"] = 4, 5
    del nest["t"]

    assert back() is nest
    assert nest["t"] is tensor
    assert nest["l"] is inner
    assert list(nest) == ["t", "l", "n"]
    assert tensor.tolist() == [1, 1]
    assert inner[1]["a"].tolist() == [0]
    assert len(inner) == 2
    assert nest["n"] == 3


def test_the_random_streams_go_back():
    np = pytest.importorskip("numpy")
    back = random_states()
    first = random.random(), torch.rand(2).tolist(), np.random.rand()  # noqa: S311
    back()

    assert (random.random(), torch.rand(2).tolist(), np.random.rand()) == first  # noqa: S311


def test_an_optimizer_gets_its_groups_and_states_back():
    model = nn.Linear(2, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=torch.tensor(0.1))
    before = copy.deepcopy(optimizer.state_dict())
    lr = optimizer.param_groups[0]["lr"]
    memory = Memory([model], [optimizer])
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    lr.mul_(0.5)
    optimizer.add_param_group({"params": [nn.Parameter(torch.ones(1))]})
    memory.restore()

    assert bits(optimizer.state_dict()) == bits(before)
    assert optimizer.param_groups[0]["lr"] is lr
    assert len(optimizer.param_groups) == 1
