"""Memory: whose graphs outlive their step, who holds them, and what may stay."""

import gc
import warnings

import corpus_scripts
import pytest
import torch
from torch import nn

from pytest_trainstep import (
    MemoryNotFlat,
    TrainStepUsageError,
    assert_memory_flat,
)

SCRIPTS = corpus_scripts.scripts("memory_flat")


def make_claim(claim, defined):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Using backward.. with create_graph=True")
        assert_memory_flat(defined["model"], defined["step"], steps=defined.get("STEPS", 6))


@pytest.fixture(autouse=True)
def few_objects():
    """What is alive already, which is much, is hidden from the collector: the scripts bring all that they need."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.parametrize("script", corpus_scripts.each(SCRIPTS))
def test_the_guilty_are_named_and_nobody_else(script):
    corpus_scripts.assert_named(script, corpus_scripts.judge(script, make_claim))


def test_every_cause_has_a_script_and_every_fault_a_healthy_twin():
    corpus_scripts.assert_complete(SCRIPTS, "memory_flat")


def trained(keep):
    """A model and a step that hands its loss to `keep`."""
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step():
        loss = model(torch.ones(1, 2)).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        keep(loss)
        return loss

    return model, step


def test_the_message_names_the_list():
    losses = []
    model, step = trained(losses.append)

    with pytest.raises(MemoryNotFlat) as caught:
        assert_memory_flat(model, step, msg="mine")

    lines = str(caught.value).splitlines()
    assert lines[0] == (
        "graph-collected: the graphs of 4 of 4 steps are still alive (graph nodes: 8 after step 2, 16 after step 4)"
    )
    assert lines[2].split("  ")[1] == "held by"
    assert lines[3].split("  ")[1] == "keep[...] (a variable of step)"
    assert lines[5].startswith("because: keep[...] (a variable of step) collects tensors (3 in a list)")
    assert lines[6].startswith("fix: collect numbers (loss.item())")
    assert lines[-1] == "mine"


class Slotted:
    __slots__ = ("total",)

    def __init__(self):
        self.total = 0.0

    def add(self, loss):
        self.total = self.total + loss


class Meter(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 1)
        self.register_buffer("total", torch.zeros(()))

    def add(self, loss):
        self.total = self.total + loss


def named(keep, model=None):
    own, step = trained(keep)
    with pytest.raises(MemoryNotFlat) as caught:
        assert_memory_flat(model or own, step, steps=3)
    return caught.value.finding.rows[0][0]


def test_attributes_slots_and_buffers_are_found_by_name():
    slotted, meter = Slotted(), Meter()

    assert named(slotted.add) == "Slotted.total"
    assert named(meter.add) == "Meter.total"
    assert named(meter.add, meter) == "model.total"
    assert named(meter.add, {"meter": meter}) == "model.meter.total"


GLOBAL = {}


def test_globals_and_defaults_are_found_by_name():
    gc.unfreeze()  # the globals of this module are older than the test

    def to_global(loss):
        GLOBAL["total"] = GLOBAL.get("total", 0.0) + loss

    def to_default(loss, kept=[]):  # noqa: B006
        kept.append(loss)

    assert named(to_global).startswith("GLOBAL['total'] (a global of ")
    GLOBAL.clear()
    assert named(to_default) == "a default argument of to_default"


def test_a_node_that_is_kept_without_its_tensor_is_found():
    nodes = []

    assert named(lambda loss: nodes.append(loss.grad_fn)).startswith("nodes[...] (a variable of ")


def test_what_was_alive_before_does_not_count():
    older = [nn.Linear(1, 1)(torch.ones(1, 1)) for _ in range(5)]
    model, step = trained(lambda loss: None)

    assert_memory_flat(model, step, steps=3)
    assert len(older) == 5


def test_the_graphs_are_not_kept_by_the_error():
    losses = []
    model, step = trained(losses.append)
    with pytest.raises(MemoryNotFlat) as caught:
        assert_memory_flat(model, step)

    def alive():
        gc.collect()
        return sum(type(one) is torch.Tensor and one.grad_fn is not None for one in gc.get_objects())

    before = alive()
    losses.clear()

    assert alive() == before - 4
    assert caught.value.finding.causes == ("graph-collected",)


def test_weights_and_random_streams_are_those_of_a_run_without_the_claim():
    def outcome(run):
        torch.manual_seed(3)
        model, step = trained(lambda loss: torch.rand(1))
        run(model, step)
        return model.weight.detach().clone(), torch.rand(2)

    def plain(model, step):
        for _ in range(4):
            step()

    expected, seen = outcome(plain), outcome(assert_memory_flat)

    assert all(torch.equal(a, b) for a, b in zip(expected, seen, strict=True))


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"steps": 0}, "steps must be a whole number above 0, not 0"),
        ({"steps": 2}, "steps must be 3 or more, not 2"),
        ({"step_fn": 3}, "step_fn must be callable"),
        ({"step_fn": lambda: None}, "no backward pass ran in 4 calls"),
        ({"model": 3}, "model must be a torch.nn.Module"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, match):
    model, step = trained(lambda loss: None)

    with pytest.raises(TrainStepUsageError, match=match):
        assert_memory_flat(**{"model": model, "step_fn": step, **arguments})


def test_an_error_of_the_step_passes_with_a_note():
    carried = {"h": torch.zeros(1)}
    w = torch.ones(1, requires_grad=True)

    def step():
        carried["h"] = (carried["h"] * w).exp()
        carried["h"].backward()

    with pytest.raises(RuntimeError, match="a second time") as caught:
        assert_memory_flat(nn.Linear(1, 1), step)

    assert "detach the hidden state" in caught.value.__notes__[0]


def test_the_private_names_of_torch_are_there():
    node = nn.Linear(1, 1)(torch.ones(1, 1)).grad_fn

    assert (
        node._sequence_nr()
        < torch.autograd._get_sequence_nr()
        == torch.ones(1).requires_grad_().exp().grad_fn._sequence_nr()
    )
    assert "grad_fn" in vars(torch._C.TensorBase)


def test_a_torch_without_the_clock_is_asked_by_a_node_of_ours(monkeypatch):
    monkeypatch.delattr(torch.autograd, "_get_sequence_nr")
    losses = []
    model, step = trained(losses.append)

    with torch.no_grad(), pytest.raises(MemoryNotFlat):
        assert_memory_flat(model, torch.enable_grad()(step), steps=3)
