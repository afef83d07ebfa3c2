"""Learning: losses that fall, that do not, and where they start."""

import copy
import math
import random
import types
import warnings

import corpus_scripts
import pytest
import torch
from torch import nn
from torch.nn import functional

from pytest_trainstep import (
    BatchNotOverfitted,
    LossNotFalling,
    LossStartsElsewhere,
    TrainStepUsageError,
    assert_batch_overfits,
    assert_loss_falls,
    assert_loss_starts_at,
)

CLAIMS = ("batch_overfits", "loss_falls", "loss_starts_at")
SCRIPTS = corpus_scripts.scripts(*CLAIMS)


def make_claim(claim, defined):
    given = {"loss_fn": defined["loss_fn"]} if "loss_fn" in defined else {}
    if claim == "loss_starts_at":
        assert_loss_starts_at(defined["model"], defined["loss_fn"], expected=defined["EXPECTED"], rtol=defined["RTOL"])
    elif claim == "loss_falls":
        assert_loss_falls(defined["model"], defined["step"], steps=defined["STEPS"], by=defined["BY"], **given)
    else:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Using a target size")
            assert_batch_overfits(
                defined["model"], defined["step"], steps=defined["STEPS"], below=defined["BELOW"], **given
            )


@pytest.mark.parametrize("script", corpus_scripts.each(SCRIPTS))
def test_the_guilty_are_named_and_nobody_else(script):
    corpus_scripts.assert_named(script, corpus_scripts.judge(script, make_claim))


def test_every_cause_has_a_script_and_every_fault_a_healthy_twin():
    corpus_scripts.assert_complete(SCRIPTS, *CLAIMS)


def replayed(values, *, as_what=float):
    """A model and a step that really trains, and returns these losses one after the other."""
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    left = iter(values)

    def step():
        optimizer.zero_grad()
        (model(torch.ones(1, 2)) - 3).square().sum().backward()
        optimizer.step()
        return as_what(next(left))

    return model, step


def test_the_message_draws_the_loss_beside_the_limit():
    model, step = replayed([4.0, 3.0, 2.0, 1.0, 1.0, 1.0])

    with pytest.raises(BatchNotOverfitted) as caught:
        assert_batch_overfits(model, step, steps=6, below=0.5, msg="mine")

    lines = str(caught.value).splitlines()
    assert lines[0] == "unexplained: the loss is 1 after 6 steps, and should be below 0.5"
    assert lines[2].split() == ["loss", "first", "lowest", "end", "below"]
    assert lines[3].split() == ["#+-___", "4", "1", "1", "0.5"]
    assert lines[5].startswith(
        "because: none of the known causes fits. Facts: the loss went from 4 to 1; 6 optimizer steps"
    )
    assert lines[7] == "on purpose? pass a higher below= if the loss has a floor, or a larger steps="
    assert lines[-1] == "mine"


LOSSES = {
    "a float": float,
    "a tensor": torch.tensor,
    "a mapping": lambda value: {"loss": torch.tensor(value), "n": 3},
    "an object": lambda value: types.SimpleNamespace(loss=torch.tensor([value])),
    "a tuple": lambda value: (torch.tensor(value), "logs"),
}


@pytest.mark.parametrize("kind", LOSSES)
def test_the_loss_is_read_from(kind):
    model, step = replayed([5.0, 0.25], as_what=LOSSES[kind])

    assert assert_batch_overfits(model, step, steps=2, below=0.5).losses == (5.0, 0.25)


@pytest.mark.parametrize("value", [None, 7, True, "done", torch.tensor(3), [1, 2]], ids=repr)
def test_what_is_no_loss_leaves_the_root_of_backward(value):
    model, step = replayed([1, 1, 1], as_what=lambda _: value)

    record = assert_loss_falls(model, step, steps=3, by=0.5)

    assert record.losses[0] > record.losses[1] > record.losses[2]


def test_a_gradient_scaler_is_taken_out_of_the_root_of_backward():
    model = nn.Linear(2, 1)
    optimizer, scaler = torch.optim.SGD(model.parameters(), lr=0.1), torch.amp.GradScaler("cpu")

    def step():
        optimizer.zero_grad()
        scaler.scale((model(torch.ones(1, 2)) - 1).square().sum()).backward()
        scaler.step(optimizer)
        scaler.update()

    assert max(assert_batch_overfits(model, step, steps=20, below=0.01).losses) < 20


def test_a_loss_fn_decides_and_leaves_no_trace():
    def trained(claim):
        torch.manual_seed(2)
        random.seed(2)
        model = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Linear(8, 1))
        optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
        x = torch.randn(6, 3)

        def step():
            optimizer.zero_grad()
            model(x + 0.1 * random.random()).square().mean().backward()  # noqa: S311
            optimizer.step()
            return 3.0

        def loss_fn():
            torch.rand(3)
            random.random()  # noqa: S311
            return model(x).square().mean()

        claim(model, step, loss_fn)
        return [tensor.clone() for tensor in model.state_dict().values()], torch.rand(1)

    def plain(model, step, loss_fn):
        for _ in range(30):
            step()

    def claimed(model, step, loss_fn):
        record = assert_batch_overfits(model, step, steps=30, below=1.0, loss_fn=loss_fn)
        assert record.losses[-1] != 3.0

    (weights, noise), (other, other_noise) = trained(plain), trained(claimed)

    assert all(torch.equal(a, b) for a, b in zip(weights, other, strict=True))
    assert torch.equal(noise, other_noise)


def test_a_failed_claim_leaves_model_and_optimizer_as_the_steps_left_them():
    model = nn.Linear(2, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    states = []

    def step():
        optimizer.zero_grad()
        loss = functional.mse_loss(model(torch.ones(4, 2)), torch.full((4, 1), 9.0))
        loss.backward()
        optimizer.step()
        states.append(copy.deepcopy((model.state_dict(), optimizer.state_dict(), torch.get_rng_state())))
        torch.rand(1)
        return loss

    with pytest.raises(BatchNotOverfitted) as caught:
        assert_batch_overfits(model, step, steps=4, below=0.1)

    assert len(states) == 5
    assert "run once more to look closer" in str(caught.value)
    assert torch.equal(model.weight, states[3][0]["weight"])
    assert float(optimizer.state[model.weight]["step"]) == 4
    with pytest.raises(BatchNotOverfitted):
        assert_batch_overfits(model, step, steps=4, below=0.1, rerun=False)
    assert len(states) == 9


def test_a_single_low_value_at_the_end_is_not_enough():
    noisy = [1.0, 1.2, 0.9, 1.1] * 10

    with pytest.raises(BatchNotOverfitted):
        assert_batch_overfits(*replayed([*noisy[:-1], 0.01]), steps=40, below=0.5)
    with pytest.raises(LossNotFalling):
        assert_loss_falls(*replayed([*noisy[:-1], 0.01]), steps=40, by=0.3)


def test_a_spike_on_the_way_does_not_matter():
    falling = [2.0 * 0.9**k for k in range(60)]
    falling[30] = falling[55] = 50.0

    assert_batch_overfits(*replayed(falling), steps=60, below=0.1)
    assert_loss_falls(*replayed(falling), steps=60, by=0.9)


def test_a_fall_within_the_noise_is_none():
    generator = random.Random(1)  # noqa: S311
    noise = [1.0 + generator.uniform(-0.5, 0.5) for _ in range(40)]
    noise[0] = 1.3

    with pytest.raises(LossNotFalling, match="no more than its noise"):
        assert_loss_falls(*replayed(noise), steps=40, by=0.05)


@pytest.mark.parametrize("steps", [2, 3, 5, 9, 30])
def test_a_loss_that_halves_each_step_falls(steps):
    assert_loss_falls(*replayed([0.5**k for k in range(steps)]), steps=steps, by=0.4)


def test_a_negative_loss_falls_further_down():
    assert_loss_falls(*replayed([-1.0 - k for k in range(10)]), steps=10, by=2.0)
    with pytest.raises(LossNotFalling):
        assert_loss_falls(*replayed([-10.0 + k for k in range(10)], as_what=LOSSES["a mapping"]), steps=10, by=0.1)


@pytest.mark.still
def test_weights_that_do_not_move_are_named_as_the_claim_about_weights_does():
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(nn.Linear(2, 1).parameters(), lr=0.1)

    def step():
        optimizer.zero_grad()
        loss = model(torch.ones(1, 2)).square().sum()
        loss.backward()
        optimizer.step()
        return loss

    with pytest.raises(LossNotFalling) as caught:
        assert_loss_falls(model, step, steps=3, by=0.1)

    assert caught.value.finding.causes == ("stale-optimizer",)
    assert set(caught.value.finding.parameters) == {"weight", "bias"}


def test_the_start_of_the_loss_is_returned_and_leaves_no_trace():
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 10))
    x, y = torch.randn(50, 4), torch.arange(50) % 10
    before, stream = copy.deepcopy(model.state_dict()), torch.get_rng_state()

    loss = assert_loss_starts_at(model, lambda: functional.cross_entropy(model(x), y), expected=math.log(10), rtol=0.3)

    assert 1.5 < loss < 3.2
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert torch.equal(stream, torch.get_rng_state())


def test_a_start_that_nothing_explains_comes_with_its_facts():
    with pytest.raises(LossStartsElsewhere, match=r"unexplained: the loss starts at 0.5, and chance predicts 2.3"):
        assert_loss_starts_at(nn.Linear(1, 1), lambda: 0.5, expected=2.3, rtol=0.1)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"steps": 0}, "steps must be a whole number above 0, not 0"),
        ({"steps": 2.5}, "steps must be a whole number above 0, not 2.5"),
        ({"step_fn": 3}, "step_fn must be callable"),
        ({"model": 3}, "model must be a torch.nn.Module"),
        ({"below": math.nan}, "below must be a finite number, not nan"),
        ({"below": "0.1"}, "below must be a finite number, not '0.1'"),
        ({"loss_fn": 3.0}, "loss_fn must be callable"),
        ({"loss_fn": lambda: torch.ones(3)}, r"loss_fn must return a single number .*, not a tensor of shape \(3,\)"),
        ({"loss_fn": lambda: "low"}, "loss_fn must return a single number .*, not str"),
        ({"step_fn": lambda: torch.ones(3)}, r"no loss can be read: step_fn returned Tensor \[3\]"),
        ({"step_fn": lambda: None}, "no loss can be read: step_fn returned NoneType and no backward pass ran"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, match):
    model, step = replayed([1.0] * 9)

    with pytest.raises(TrainStepUsageError, match=match):
        assert_batch_overfits(**{"model": model, "step_fn": step, "steps": 3, "below": 0.1, **arguments})


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"by": 0}, "by must be above 0"),
        ({"steps": 1}, "steps 2 or more"),
        ({"by": None}, "by must be a finite number"),
    ],
)
def test_a_fall_that_makes_no_sense_is_refused(arguments, match):
    model, step = replayed([1.0] * 9)

    with pytest.raises(TrainStepUsageError, match=match):
        assert_loss_falls(model, step, **{"steps": 3, "by": 0.1, **arguments})


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"expected": 0}, "must not be 0"),
        ({"rtol": -1}, "rtol must not be negative"),
        ({"loss_fn": 2.3}, "loss_fn must be callable without arguments, not float"),
        ({"model": None}, "model must be a torch.nn.Module"),
    ],
)
def test_a_start_that_makes_no_sense_is_refused(arguments, match):
    given = {"model": nn.Linear(1, 1), "loss_fn": lambda: 1.0, "expected": 1.0, "rtol": 0.1, **arguments}

    with pytest.raises(TrainStepUsageError, match=match):
        assert_loss_starts_at(given.pop("model"), given.pop("loss_fn"), **given)


def test_an_error_of_the_step_passes():
    def step():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        assert_batch_overfits(nn.Linear(1, 1), step, steps=2, below=1.0)


def test_the_private_name_of_torch_is_there():
    assert {nn.Dropout, nn.Dropout2d, nn.AlphaDropout} <= set(nn.modules.dropout._DropoutNd.__subclasses__())
