"""What a watch records about every parameter: whether, when and how far it moved, whatever kind of tensor it is."""

import math

import pytest
import torch
from torch import nn

from pytest_trainstep import TrainStepUsageError, watch


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def watched_by(model, change, **options):
    with watch(model, **options) as watched:
        change()
    return watched.record


def changed(model, write):
    """Write into the model under no_grad while it is watched."""

    def change():
        with torch.no_grad():
            write()

    return watched_by(model, change)


def linear(values, dtype=torch.float32):
    model = nn.Linear(len(values), 1, bias=False)
    model.weight = nn.Parameter(torch.tensor([values], dtype=dtype))
    return model


def test_the_numbers_of_a_change():
    model = linear([3.0, 4.0, 0.0, 0.0])
    record = changed(model, lambda: model.weight[0, :2].add_(torch.tensor([0.5, -1.0])))

    row = record.parameters["weight"]
    assert row.moved
    assert row.first_moved == 1
    assert row.outside_moved
    assert row.elements_changed == 2
    assert row.max_change == 1.0
    assert row.rms_change == pytest.approx(math.sqrt(1.25 / 4))
    assert row.update_ratio == pytest.approx(math.sqrt(1.25 / 25))
    assert (row.shape, row.numel, row.dtype, row.device) == ((1, 4), 4, "float32", "cpu")


def test_weights_of_zero_have_no_ratio():
    model = linear([0.0, 0.0])
    record = changed(model, lambda: model.weight.add_(1))

    assert record.parameters["weight"].update_ratio is None
    assert record.parameters["weight"].max_change == 1


@pytest.mark.parametrize(
    ("before", "after", "count"),
    [
        ([0.0, -0.0], [-0.0, 0.0], 0),
        ([math.nan, 1.0], [math.nan, 1.0], 0),
        ([math.inf, 1.0], [math.inf, 1.0], 0),
        ([math.nan, 1.0], [math.nan, 2.0], 1),
        ([1.0, 1.0], [math.nan, 1.0], 1),
        ([1.0, 1.0], [1.0, math.nextafter(1.0, 2.0)], 1),
        ([1e-310, 1.0], [2e-310, 1.0], 1),
        ([1e308, 1.0], [-1e308, 1.0], 1),
    ],
    ids=["signed-zero", "nan-stays", "inf-stays", "beside-nan", "to-nan", "last-bit", "subnormal", "huge"],
)
def test_which_elements_count_as_changed(before, after, count):
    model = linear(before, dtype=torch.float64)
    record = changed(model, lambda: model.weight.copy_(torch.tensor([after], dtype=torch.float64)))

    assert record.parameters["weight"].elements_changed == count
    assert record.parameters["weight"].moved is (count > 0)
    assert record.parameters["weight"].finite is all(map(math.isfinite, after))


KINDS = {
    "bfloat16": torch.ones(3, dtype=torch.bfloat16),
    "float16": torch.ones(3, dtype=torch.float16),
    "complex": torch.ones(3, dtype=torch.complex64),
    "scalar": torch.tensor(1.0),
    "not-contiguous": torch.ones(3, 2).t(),
    "one": torch.ones(1, 1, 1),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_tensor_is_seen_to_move_or_to_stand_still(kind):
    model = nn.Module()
    model.moving, model.still = nn.Parameter(KINDS[kind].clone()), nn.Parameter(KINDS[kind].clone())
    record = changed(model, lambda: model.moving.add_(1))

    assert (record.parameters["moving"].moved, record.parameters["still"].moved) == (True, False)
    assert record.parameters["moving"].max_change == 1.0
    assert record.parameters["moving"].elements_changed == max(1, KINDS[kind].numel())


def test_integers_and_flags_are_seen_to_move_too():
    model = nn.Module()
    model.packed = nn.Parameter(torch.zeros(3, dtype=torch.int8), requires_grad=False)
    model.mask = nn.Parameter(torch.zeros(3, dtype=torch.bool), requires_grad=False)
    record = changed(model, lambda: [one[1:].fill_(1) for one in model.parameters()])

    assert [row.elements_changed for row in record.parameters.values()] == [2, 2]


def test_a_parameter_without_elements_never_moves():
    model = nn.Module()
    model.empty, model.scale = nn.Parameter(torch.zeros(0, 3)), nn.Parameter(torch.ones(1))
    record = changed(model, lambda: [one.add_(1) for one in model.parameters()])

    assert [row.moved for row in record.parameters.values()] == [False, True]
    assert record.parameters["empty"].numel == 0


def test_a_sparse_gradient_moves_its_rows():
    model = nn.Embedding(10, 2, sparse=True)
    optimizer = torch.optim.SparseAdam(model.parameters(), lr=0.1)

    def train():
        model(torch.tensor([2, 7, 7])).sum().backward()
        optimizer.step()

    row = watched_by(model, train).parameters["weight"]
    assert (row.elements_changed, row.gradient_moved) == (4, True)


def test_lazy_parameters_are_taken_up_when_they_get_their_values():
    model = nn.Sequential(nn.LazyLinear(3), nn.LazyLinear(1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def train():
        model(torch.ones(2, 5)).square().sum().backward()
        optimizer.step()

    record = watched_by(model, train)
    assert record.parameters["0.weight"].shape == (3, 5)
    assert all(row.gradient_moved for row in record.parameters.values())


def test_tied_weights_are_one_parameter_with_two_names():
    model = nn.ModuleDict({"embed": nn.Embedding(5, 3), "out": nn.Linear(3, 5, bias=False)})
    model["out"].weight = model["embed"].weight
    record = changed(model, lambda: model["out"].weight.add_(1))

    assert list(record.parameters) == ["embed.weight"]
    assert record.parameters["embed.weight"].aliases == ("out.weight",)


def test_a_parametrized_weight_is_watched_where_it_is_registered():
    model = nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def train():
        model(torch.ones(1, 3)).square().sum().backward()
        optimizer.step()

    record = watched_by(model, train)
    assert set(record.parameters) == {
        "bias",
        "parametrizations.weight.original0",
        "parametrizations.weight.original1",
    }
    assert all(row.reached == 1 for row in record.parameters.values())


@pytest.mark.parametrize(
    "write",
    [
        lambda one: one.data.add_(1),
        lambda one: setattr(one, "data", one.data + 1),
        lambda one: one.detach().numpy().__iadd__(1),
        lambda one: one.detach().add_(1),
        lambda one: one.untyped_storage().fill_(1),
        lambda one: nn.utils.vector_to_parameters(one.detach().reshape(-1) + 1, [one]),
    ],
    ids=["data", "data-assigned", "numpy", "detach", "storage", "vector"],
)
def test_writes_that_leave_no_version_behind_are_seen(write):
    model = linear([1.0, 2.0])
    row = watched_by(model, lambda: write(model.weight)).parameters["weight"]

    assert row.moved
    assert row.outside_moved
    assert not row.gradient_moved
    assert row.elements_changed == 2


def test_a_replaced_parameter_is_compared_by_name():
    model = linear([1.0, 2.0])
    row = watched_by(model, lambda: setattr(model, "weight", nn.Parameter(model.weight + 1))).parameters["weight"]

    assert row.replaced
    assert row.moved
    assert row.max_change == 1


def test_a_replaced_layer_counts_from_where_backward_found_it():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def train():
        model[1] = nn.Linear(2, 3)
        model(torch.ones(1, 2)).sum().backward()
        optimizer.step()

    record = watched_by(model, train)
    assert record.parameters["1.weight"].replaced
    assert record.parameters["1.weight"].shape == (3, 2)
    assert [row.moved for row in record.parameters.values()] == [True, True, False, False]


def test_a_layer_that_is_added_is_watched_and_one_that_is_removed_is_mentioned():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))

    def train():
        del model[1]
        model.append(nn.Linear(2, 3, bias=False))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        model(torch.ones(1, 2)).sum().backward()
        optimizer.step()

    record = watched_by(model, train)
    assert {name: row.moved for name, row in record.parameters.items()} == {
        "0.weight": True,
        "0.bias": True,
        "1.weight": True,
    }
    assert record.notes == ("no longer in the model at the end: 1.bias",)


def test_weights_that_are_put_back_are_called_restored():
    model = linear([1.0, 2.0])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    kept = model.weight.detach().clone()

    def train():
        model(torch.ones(1, 2)).sum().backward()
        optimizer.step()
        model.weight.data.copy_(kept)

    row = watched_by(model, train).parameters["weight"]
    assert row.restored
    assert not row.moved


def test_a_conversion_alone_is_no_change():
    model = nn.Linear(2, 2)
    record = watched_by(model, model.double)

    assert {row.dtype for row in record.parameters.values()} == {"float64"}
    assert not any(row.moved for row in record.parameters.values())


def test_buffers_are_watched_when_asked_for():
    model = nn.BatchNorm1d(3)

    def train():
        model(torch.randn(4, 3))

    rows = watched_by(model, train, buffers=True).parameters
    assert {name for name, row in rows.items() if row.buffer and row.moved} == {
        "running_mean",
        "running_var",
        "num_batches_tracked",
    }
    assert set(watched_by(model, train).parameters) == {"weight", "bias"}


def test_functional_parameters_are_followed_by_name():
    weights = {"w": torch.ones(2, requires_grad=True), "b": torch.zeros(1, requires_grad=True)}

    def train():
        loss = (weights["w"] * 3).sum() + weights["b"].sum() * 0
        (gradient,) = torch.autograd.grad(loss, [weights["w"]])
        weights["w"] = (weights["w"] - 0.5 * gradient).detach().requires_grad_()

    with watch(params=lambda: weights) as watched:
        train()

    rows = watched.record.parameters
    assert (rows["w"].moved, rows["w"].max_change, rows["b"].moved) == (True, 1.5, False)


def test_prefixes_of_wrappers_are_stripped_where_nothing_clashes():
    wrapped = nn.DataParallel(nn.Linear(2, 2))
    assert set(watched_by(wrapped, lambda: None).parameters) == {"weight", "bias"}
    own = nn.ModuleDict({"module": nn.Linear(2, 2), "head": nn.Linear(2, 2)})
    assert "module.weight" in watched_by(own, lambda: None).parameters


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch.jit
def test_a_scripted_module_is_watched():
    model = torch.jit.script(nn.Sequential(nn.Linear(3, 1), nn.Tanh()))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def train():
        model(torch.ones(2, 3)).sum().backward()
        optimizer.step()

    assert all(row.gradient_moved for row in watched_by(model, train).parameters.values())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the compiler imports what torch itself has given up
@pytest.mark.parametrize("where", ["model", "step"])
def test_compiled_code_is_watched(where):
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    step = torch.compile(optimizer.step, backend="eager") if where == "step" else optimizer.step
    forward = torch.compile(model, backend="eager") if where == "model" else model

    def train():
        for _ in range(2):
            forward(torch.ones(2, 3)).sum().backward()
            step()

    record = watched_by(forward, train)
    torch.compiler.reset()
    assert set(record.parameters) == {"weight", "bias"}
    assert record.step_count == 2
    assert record.backward_count == 2
    assert all(row.gradient_moved for row in record.parameters.values())


def test_a_record_exists_only_after_the_block():
    with watch(nn.Linear(1, 1)) as watched, pytest.raises(TrainStepUsageError, match="block has ended"):
        watched.record  # noqa: B018
