"""The claims: each holds and fails, with each of its arguments."""

from unittest import mock

import pytest
import torch
from torch import nn

from pytest_trainstep import (
    TrainStepUsageError,
    WeightsNotFrozen,
    WeightsNotUpdated,
    assert_weights_frozen,
    assert_weights_update,
    watch,
)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def net():
    return nn.ModuleDict({"body": nn.Linear(3, 4), "head": nn.Linear(4, 1)})


def output(model, x=None):
    return model["head"](model["body"](torch.ones(2, 3) if x is None else x).tanh())


def trained(model, held=None, lr=0.1):
    optimizer = torch.optim.SGD(model.parameters() if held is None else held, lr=lr)

    def step():
        optimizer.zero_grad()
        loss = (output(model) - 1).square().sum()
        loss.backward()
        optimizer.step()
        return loss

    return step


def half_trained():
    model = net()
    return model, trained(model, model["head"].parameters())


# Arguments.


def test_the_record_comes_back_when_the_claim_holds():
    model = net()
    record = assert_weights_update(model, trained(model), steps=3)

    assert (record.calls, record.step_count) == (3, 3)
    assert record.parameters["head.weight"].update_ratio > 0
    assert {row.first_moved for row in record.parameters.values()} == {1}


@pytest.mark.parametrize(
    "value", [None, 1.0, "text", {"loss": 3}, [torch.ones(2)], object()], ids=lambda value: type(value).__name__
)
def test_a_step_may_return_anything(value):
    model = net()
    step = trained(model)

    assert_weights_update(model, lambda: (step(), value)[1])


def test_frozen_excuses_and_only_selects():
    for arguments in ({"frozen": ["body.*"]}, {"only": ["head.*"]}, {"only": ["*"], "frozen": ["body.*"]}):
        assert_weights_update(*half_trained(), **arguments)
    with pytest.raises(WeightsNotUpdated) as caught:
        assert_weights_update(*half_trained(), only=["*.weight"])
    assert caught.value.finding.parameters == {"body.weight": "not-in-optimizer"}


def test_only_judges_what_does_not_require_grad():
    model = net()
    model["body"].requires_grad_(False)
    step = trained(model)

    assert_weights_update(model, step)
    with pytest.raises(WeightsNotUpdated) as caught:
        assert_weights_update(model, step, only=["body.*", "head.*"])
    assert caught.value.finding.parameters == {
        "body.weight": "requires-grad-false",
        "body.bias": "requires-grad-false",
    }


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"frozen": ["boddy.*"]}, "frozen='boddy.*' matches no parameter; nearest: body"),
        ({"only": ["head.wait"]}, "only='head.wait' matches no parameter; nearest: head.weight"),
        ({"only": ["xyz"]}, "only='xyz' matches no parameter; nearest: body.bias, body.weight, head.bias"),
        ({"frozen": "body.*"}, "frozen must be a list of patterns, not the string 'body.*': write ['body.*']"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_pattern_that_fits_nothing_is_refused_with_the_nearest_names(arguments, complaint):
    with pytest.raises(TrainStepUsageError) as caught:
        assert_weights_update(*half_trained(), **arguments)

    assert str(caught.value).startswith(complaint)


def test_min_update_asks_for_a_share_of_the_weights():
    model = net()
    assert_weights_update(model, trained(model, lr=1e-4), min_update=1e-9)
    with pytest.raises(WeightsNotUpdated, match="update-too-small"):
        assert_weights_update(model, trained(model, lr=1e-4), min_update=0.5)


def test_a_text_of_ones_own_stands_below_the_message():
    with pytest.raises(WeightsNotUpdated) as caught:
        assert_weights_update(*half_trained(), msg="see ticket 12")

    assert str(caught.value).splitlines()[-1] == "see ticket 12"


def test_without_rerun_the_step_runs_as_often_as_asked():
    model, step = half_trained()
    spy = mock.Mock(side_effect=step)
    with pytest.raises(WeightsNotUpdated) as caught:
        assert_weights_update(model, spy, steps=2, rerun=False)
    assert (spy.call_count, caught.value.finding.record.reran) == (2, False)
    with pytest.raises(WeightsNotUpdated, match="run once more to look closer"):
        assert_weights_update(model, spy, steps=2)
    assert spy.call_count == 5


@pytest.mark.parametrize("kind", ["mapping", "callable"])
def test_params_stand_in_for_a_model(kind):
    weights = {"w": torch.ones(2, requires_grad=True), "idle": torch.ones(1, requires_grad=True)}

    def step():
        weights["w"].grad = None
        weights["w"].square().sum().backward()
        with torch.no_grad():
            weights["w"] -= 0.1 * weights["w"].grad

    params = weights if kind == "mapping" else lambda: weights
    record = assert_weights_update(None, step, params=params, frozen=["idle"])
    assert record.parameters["w"].moved
    with pytest.raises(WeightsNotUpdated):
        assert_weights_update(None, step, params=params)


def test_the_methods_of_a_watch_make_the_same_claims():
    model, step = half_trained()
    with watch(model, buffers=True) as watched:
        step()

    assert watched.assert_weights_update(frozen=["body.*"]) is watched.record
    assert watched.assert_weights_frozen(only=["body.*"]) is watched.record
    with pytest.raises(WeightsNotUpdated, match="not-in-optimizer"):
        watched.assert_weights_update(msg="mine")
    with pytest.raises(WeightsNotFrozen, match="frozen-in-optimizer"):
        watched.assert_weights_frozen(only=["head.*"])
    with pytest.raises(TrainStepUsageError, match="no buffers"):
        watched.assert_weights_frozen(only=["body.*"], buffers=True)


def test_frozen_weights_must_be_still_even_when_they_are_put_back():
    model = net()
    model["body"].requires_grad_(False)

    def step():
        model["body"].weight.data.add_(1)

    with pytest.raises(WeightsNotFrozen) as caught:
        assert_weights_frozen(model, step)
    assert caught.value.finding.parameters == {"body.weight": "written-outside-optimizer"}


def test_nothing_frozen_is_nothing_to_judge():
    model = net()
    with pytest.raises(TrainStepUsageError, match="no parameter has requires_grad=False"):
        assert_weights_frozen(model, trained(model))


def test_excusing_everything_is_no_failure():
    model = net()
    assert_weights_update(model, lambda: None, frozen=["*"])
