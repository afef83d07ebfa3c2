import random
import re

import hypothesis
import pytest
import torch
from hypothesis import HealthCheck, Phase, example, find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import InvalidArgument
from torch import nn

from pytest_trainstep import TrainStepUsageError, WeightsNotUpdated
from pytest_trainstep import strategies as ts

calm = settings(
    max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck), derandomize=True
)
thorough = settings(calm, max_examples=1000)


class Net(nn.Module):
    """A model of the user's own."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x):
        return self.layer(x)


def train(setup):
    setup.loss_fn(setup.model(setup.inputs), setup.targets).backward()
    setup.optimizer.step()


def values(model):
    return [p.detach().clone() for p in model.parameters() if p.requires_grad]


def moved(setup):
    before = values(setup.model)
    train(setup)
    after = values(setup.model)
    return all(not torch.equal(old, new) and new.isfinite().all() for old, new in zip(before, after, strict=True))


# --- bad arguments ----------------------------------------------------------------------------------------------------

BAD = """
models(dtype=torch.int64)
models(layers=["no_such_layer"])
models(max_layers=-1)
models(dtype=torch.float16, complex_parameters=True)
batches(nn.Linear(1, 1))
batches(ModelSpec(), min_size=3, max_size=2)
losses(names=[])
losses(names=["NoLoss"])
losses(names="MSELoss")
dtypes(names=["int64"])
learning_rates(-1)
learning_rates(float("nan"))
learning_rates(1.0, 0.1)
learning_rates(max_value=1e-9)
learning_rates(max_value=1e-4, dtype=torch.bfloat16)
optimizers(names=["NoOptimizer"])
optimizers(names=["Muon"], model=ModelSpec())
optimizers(model=nn.Linear(1, 1))
schedulers(names=["NoScheduler"])
training_setups(models=ModelSpec())
training_setups(learning_rates=0.1)
training_setups(models=models(), dtypes=dtypes())
training_setups(losses=st.just(nn.MSELoss()))
setups_for(nn.Linear(1, 1), inputs=(1,), loss=nn.MSELoss())
setups_for(Net, inputs=0, loss=nn.MSELoss())
setups_for(Net, inputs=st.just(1), loss=nn.MSELoss())
setups_for(Net, inputs=(3,), loss="mse")
""".strip().splitlines()


@pytest.mark.parametrize("call", BAD)
def test_bad_arguments_are_refused_when_drawn(call):
    strategy = eval(call, {**vars(ts), "torch": torch, "nn": nn, "st": st, "Net": Net})  # noqa: S307

    @settings(calm, max_examples=1)
    @given(strategy)
    def draws(value): ...

    with pytest.raises(InvalidArgument):
        draws()


def test_unknown_shape_is_a_usage_error():
    with pytest.raises(TrainStepUsageError, match="'optimizer', 'lr', 'trainer'"):
        ts.check_train_step(print, shape="loop")


# --- what things shrink to --------------------------------------------------------------------------------------------

MINIMAL = {
    "models()": "ModelSpec().build()",
    "losses()": "LossSpec().build()",
    "devices()": "Device('cpu')",
    "devices(strict=True)": "Device('cpu')",
    "dtypes()": "torch.float32",
    "learning_rates()": "0.1",
    "learning_rates(max_value=0.0002)": "0.0001",
    "learning_rates(1.0)": "1.0",
    "learning_rates(0.2, 0.3)": "0.2",
    "learning_rates(dtype=torch.bfloat16)": "0.1",
    "optimizers()": "OptimizerSpec()",
    "optimizers(names=['LBFGS'])": "OptimizerSpec('LBFGS')",
    "optimizers(model=ModelSpec())": "OptimizerSpec()",
    "schedulers()": "SchedulerSpec()",
    "batches(ModelSpec())": "Batch()",
    "batches(ModelSpec(), min_size=3)": "Batch(size=4)",
    "training_setups()": "TrainingSetup()",
    "training_setups(models=models(dtype=torch.float64))": "TrainingSetup(model=ModelSpec(dtype='float64'))",
    "setups_for(Net, inputs=(3,), loss=nn.L1Loss())": "FactorySetup(Net, inputs=(3,), loss=L1Loss())",
}


@pytest.mark.parametrize("call", MINIMAL)
def test_minimal(call):
    strategy = eval(call, {**vars(ts), "torch": torch, "nn": nn, "Net": Net})  # noqa: S307
    assert repr(find(strategy, lambda _: True, settings=calm)) == MINIMAL[call]


CONDITIONS = {
    "TrainingSetup(lr=0.0001)": lambda s: s.lr < 5e-4,
    "TrainingSetup(lr=1)": lambda s: isinstance(s.lr, int),
    "TrainingSetup(batch_size=1)": lambda s: len(s.inputs) == 1,
    "TrainingSetup(batch_size=3)": lambda s: len(s.inputs) % 2,
    "TrainingSetup(optimizer=OptimizerSpec(groups=2))": lambda s: len(s.optimizer.param_groups) == 2,
    "TrainingSetup(optimizer=OptimizerSpec('Adam'))": lambda s: type(s.optimizer).__name__ == "Adam",
    "TrainingSetup(device=Device('replacing'))": lambda s: s.device.simulation,
    "TrainingSetup(model=ModelSpec(layers=('scale',)))": lambda s: any(not p.shape for p in s.model.parameters()),
    "TrainingSetup(model=ModelSpec(layers=('sliced',)))": lambda s: any(
        p.untyped_storage().nbytes() > p.numel() * p.element_size() for p in s.model.parameters()
    ),
    "TrainingSetup(model=ModelSpec(dtype='float16'))": lambda s: s.dtype == torch.float16,
    "TrainingSetup(scheduler=SchedulerSpec())": lambda s: s.scheduler,
    "TrainingSetup(loss=LossSpec('CrossEntropyLoss'))": lambda s: s.targets.dtype == torch.long,
}


@pytest.mark.parametrize("code", CONDITIONS)
def test_failing_setup_shows_nothing_but_the_condition(code):
    assert (
        repr(
            find(
                ts.training_setups(),
                CONDITIONS[code],
                settings=settings(thorough, phases=[Phase.generate, Phase.shrink]),
            )
        )
        == code
    )


# --- valid by construction --------------------------------------------------------------------------------------------


@settings(calm, max_examples=300)
@given(ts.training_setups())
def test_correct_step_moves_every_parameter(setup):
    assert moved(setup)


@settings(calm, max_examples=100)
@given(ts.models(complex_parameters=True), ts.learning_rates(1e-3, 1.0), st.data())
def test_complex_parameters_move(model, lr, data):
    inputs, targets = data.draw(ts.batches(model))
    optimizer = data.draw(ts.optimizers(names=["SGD", "Adam"], model=model))(model, lr)
    before = values(model)
    nn.functional.mse_loss(model(inputs), targets).backward()
    optimizer.step()
    assert not any(torch.equal(old, new) for old, new in zip(before, values(model), strict=True))


@calm
@given(ts.setups_for(Net, inputs=(3,), loss=nn.MSELoss()))
def test_own_model(setup):
    assert type(setup.model) is Net
    assert moved(setup)


@calm
@given(
    ts.setups_for(
        Net, inputs=lambda size, generator: torch.rand(size, 3, generator=generator), loss=nn.CrossEntropyLoss()
    )
)
def test_own_inputs_and_classes(setup):
    assert setup.targets.dtype == torch.long
    train(setup)


def test_at_least_half_of_the_models_are_not_a_plain_sequential():
    counts = {"plain": 0, "not": 0}

    @settings(calm, max_examples=300)
    @given(ts.models())
    def draws(model):
        plain = type(model).__name__ in {"Bare", "Chain"} and all(
            type(layer) in {nn.Linear, nn.Tanh, nn.GELU} for layer in model.children()
        )
        counts["plain" if plain else "not"] += 1

    draws()
    assert counts["not"] >= counts["plain"]


@calm
@given(ts.learning_rates(dtype=torch.bfloat16))
def test_learning_rates_respect_the_dtype(lr):
    weight = torch.tensor(0.5, dtype=torch.bfloat16)
    assert weight - lr != weight


# --- live and readable ------------------------------------------------------------------------------------------------


@settings(calm, max_examples=100)
@given(ts.training_setups())
def test_printed_setup_rebuilds_the_same_setup(setup):
    again = eval(repr(setup), vars(ts))  # noqa: S307
    assert again == setup
    train(setup)
    train(again)
    for mine, other in zip(setup.model.state_dict().values(), again.model.state_dict().values(), strict=True):
        assert torch.equal(mine, other)


@calm
@given(ts.models(complex_parameters=True))
def test_printed_model_rebuilds_the_same_model(model):
    again = eval(repr(model), vars(ts))  # noqa: S307
    assert again.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(a, b) for a, b in zip(again.state_dict().values(), model.state_dict().values(), strict=True))


@pytest.mark.parametrize("most", [1, 2])
def test_few_layers_of_one_kind(most):
    model = find(ts.models(layers=["scale"], max_layers=most), lambda m: len(m.spec.layers) == most, settings=calm)
    assert model.spec.layers == ("scale",) * most


def test_failure_prints_code():
    @settings(calm, phases=[Phase.generate, Phase.shrink])
    @given(setup=ts.training_setups())
    def fails(setup):
        assert len(setup.inputs) != 1

    with pytest.raises(AssertionError) as raised:
        fails()
    assert "setup=TrainingSetup(batch_size=1)," in "\n".join(raised.value.__notes__)


PASTED_SETUP = ts.TrainingSetup(lr=0.5)
PASTED_MODEL = ts.ModelSpec(layers=("batch_norm",)).build()
SEEN = []


@settings(calm, phases=[Phase.explicit])
@given(setup=ts.training_setups(), model=ts.models())
@example(setup=PASTED_SETUP, model=PASTED_MODEL)
def train_pasted(setup, model):
    SEEN.append([*values(setup.model), *values(model)])
    train(setup)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)


def test_pasted_example_starts_afresh_in_every_execution():
    SEEN.clear()
    train(PASTED_SETUP)  # not even what was trained outside of the test is seen
    train_pasted()
    train_pasted()
    assert all(torch.equal(first, second) for first, second in zip(*SEEN, strict=True))


# --- devices ----------------------------------------------------------------------------------------------------------


def replaces():
    model = nn.Linear(1, 1)
    before = model.weight
    return model.to("cpu").weight is not before


@pytest.mark.parametrize("fails", [True, False])
def test_simulation_ends_with_the_example(fails):
    seen = []

    @settings(calm, phases=[Phase.generate])
    @given(device=ts.devices())
    def draws(device):
        seen.append((device.simulation, replaces()))
        assert not (fails and device.simulation)

    if fails:
        with pytest.raises(AssertionError):
            draws()
    else:
        draws()
    assert set(seen) == {("", False), ("replacing", True)}
    assert not replaces()


def test_pasted_device_is_simulated():
    seen = []

    @settings(calm, phases=[Phase.explicit])
    @given(device=ts.devices())
    @example(device=ts.Device("replacing"))
    def runs(device):
        seen.append(replaces())

    runs()
    assert seen == [True]
    assert not replaces()


def test_two_devices_in_one_example():
    @calm
    @given(ts.devices(), ts.devices())
    def draws(one, other): ...

    draws()
    assert not replaces()


@calm
@given(ts.devices(strict=True))
def test_torch_takes_a_drawn_device(device):
    model = nn.Linear(3, 2).to(device)
    assert model(torch.ones(1, 3, device=device)).device.type == device.type
    assert torch.device(device).type == device.type
    assert device == torch.device(device)
    assert device.index is None


def test_strict_device_trains_as_the_cpu_does():
    plain = ts.TrainingSetup(model=ts.ModelSpec(layers=("gru", "layer_norm")), optimizer=ts.OptimizerSpec("Adam"))
    train(plain)
    with ts.Device("strict") as device:
        strict = ts.TrainingSetup(model=plain.parts.model, optimizer=plain.parts.optimizer, device=device)
        train(strict)
        assert all(p.device.type == "meta" for p in strict.model.parameters())
        for mine, other in zip(plain.model.parameters(), strict.model.parameters(), strict=True):
            assert torch.allclose(mine, other.detach().cpu())
    assert torch.zeros(1, device="meta").is_meta


def test_strict_device_refuses_to_mix():
    with ts.Device("strict") as device:
        model = nn.Linear(3, 2).to(device)
        with pytest.raises(RuntimeError, match="at least two devices"):
            model(torch.ones(1, 3))
        weights = torch.zeros(2, device=device)
        weights.data = torch.ones(2, device=device)
        assert weights.sum().item() == 2
        assert weights.tolist() == [1, 1]


# --- optimizers, schedulers, batches ----------------------------------------------------------------------------------


@settings(calm, max_examples=200)
@given(ts.optimizers(), ts.schedulers(), ts.learning_rates(1e-3))
def test_optimizers_and_schedulers_are_ready_to_use(make_optimizer, make_scheduler, lr):
    model = nn.Linear(2, 2)
    optimizer = make_optimizer(model, lr)
    scheduler = make_scheduler(optimizer)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    scheduler.step()
    assert type(optimizer).__name__ == make_optimizer.name
    assert len(optimizer.param_groups) == min(make_optimizer.groups, 2)  # there are two parameters
    assert optimizer.param_groups[0]["lr"] > 0


def test_optimizer_that_needs_a_closure_is_drawn_only_by_name():
    make = find(ts.optimizers(names=["LBFGS"]), lambda _: True, settings=calm)
    assert isinstance(make(nn.Linear(1, 1)), torch.optim.LBFGS)
    with pytest.raises(hypothesis.errors.NoSuchExample):
        find(ts.optimizers(), lambda spec: spec.name == "LBFGS", settings=calm)


@calm
@given(ts.models(), st.data())
def test_batches_fit_the_model(model, data):
    inputs, targets = data.draw(ts.batches(model, min_size=2))
    assert model(inputs).shape == targets.shape


# --- neutrality -------------------------------------------------------------------------------------------------------


@settings(calm, max_examples=100)
@given(st.data())
def test_global_streams_are_not_touched(data):
    before = torch.get_rng_state(), random.getstate()
    setup = data.draw(ts.training_setups())
    train(setup)
    own = data.draw(ts.setups_for(Net, inputs=(3,), loss=nn.MSELoss()))
    train(own)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]


def test_torch_stream_is_registered():
    drawn = []

    @settings(calm, max_examples=3)
    @given(st.integers())
    def draws(_):
        drawn.append(torch.rand(1).item())

    state = torch.get_rng_state()
    draws()
    assert len(set(drawn)) == 1
    assert torch.equal(torch.get_rng_state(), state)


def test_types_of_others_are_not_registered():
    from hypothesis.strategies._internal.types import _global_type_lookup

    assert not [kind for kind in _global_type_lookup if kind.__module__.startswith("torch")]


# --- the ready-made property ------------------------------------------------------------------------------------------


def no_step(model, optimizer, inputs, targets, loss_fn):
    loss_fn(model(inputs), targets).backward()


def test_the_finding_of_the_smallest_setup_is_raised():
    with pytest.raises(WeightsNotUpdated) as raised:
        ts.check_train_step(no_step, max_examples=10, seed=0)
    assert raised.value.finding.causes
    assert raised.value.__notes__ == ["smallest failing set-up:\n    TrainingSetup()"]


def test_seed_repeats():
    def rates(seed):
        drawn = []

        def step(model, lr, inputs, targets, loss_fn):
            drawn.append(lr)
            model(inputs)
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(1)

        ts.check_train_step(step, shape="lr", max_examples=20, seed=seed)
        return drawn

    assert rates(1) == rates(1) != rates(2)


def test_step_that_recovers_is_reported():
    calls = []

    def step(model, optimizer, inputs, targets, loss_fn):
        calls.append(model)
        no_step(model, optimizer, inputs, targets, loss_fn)
        if len(calls) > standing_still:
            optimizer.step()

    standing_still = 1000
    with pytest.raises(WeightsNotUpdated):
        ts.check_train_step(step, max_examples=5, seed=0)
    standing_still = len(calls) - 2  # all but the explanation, which runs the step twice
    calls.clear()
    with pytest.raises(AssertionError, match="when it was run again"):
        ts.check_train_step(step, max_examples=5, seed=0)


def test_step_that_stands_still_once_and_not_again_is_reported():
    calls = []

    def step(model, lr, inputs, targets, loss_fn):
        calls.append(model)
        if len(calls) != 5:
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(1)

    with pytest.raises(AssertionError, match="when it was run again"):
        ts.check_train_step(step, shape="lr", max_examples=20, seed=0)


def test_batch_norm_takes_a_single_sample():
    assert moved(ts.TrainingSetup(model=ts.ModelSpec(layers=("batch_norm",)), batch_size=1))


def test_exceptions_of_the_step_pass_through():
    def step(model, optimizer, inputs, targets, loss_fn):
        raise KeyError(inputs.dim())

    with pytest.raises(KeyError):
        ts.check_train_step(step, max_examples=5)


def test_only_given_devices_are_drawn():
    class Trainer:
        def __init__(self, model, lr, device):
            assert re.fullmatch("cpu", device)
            assert not replaces()
            self.model = model.to(device)
            self.optimizer = torch.optim.SGD(model.parameters(), lr=lr)

        def step(self, inputs, targets, loss_fn):
            loss_fn(self.model(inputs), targets).backward()
            self.optimizer.step()

    ts.check_train_step(Trainer, shape="trainer", max_examples=20, devices=st.just(ts.Device("cpu")))
