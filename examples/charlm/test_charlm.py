"""What a user would claim about `train.py`: tied weights, a warm-up from 0, clipping, and a frozen part."""

import pytest

from pytest_trainstep import assert_weights_frozen, assert_weights_update, watch

from .train import TEXT, CharTransformer, draw_batch, encode, make_optimizer, train, train_step, write

# the schedule starts at a learning rate of 0, so one step is not enough
pytestmark = pytest.mark.trainstep(seed=0, steps=2)


@pytest.fixture
def model():
    return CharTransformer()


@pytest.fixture
def batch(model):
    return draw_batch(encode(TEXT), model.context)


def test_training_updates_every_weight(model, batch):
    optimizer, schedule = make_optimizer(model)
    record = assert_weights_update(model, lambda: train_step(model, optimizer, schedule, batch))
    assert record.parameters["embed.weight"].aliases == ("head.weight",)
    assert {row.first_moved for row in record.parameters.values()} == {2}


def test_the_fixture_says_the_same(trainstep, trainstep_device, model, batch):
    model.to(trainstep_device)
    batch = [letters.to(trainstep_device) for letters in batch]
    optimizer, schedule = make_optimizer(model)
    trainstep.assert_weights_update(model, lambda: train_step(model, optimizer, schedule, batch))


def test_the_whole_training_learns(model):
    optimizer, schedule = make_optimizer(model)
    with watch(model) as watched:
        losses = train(model, optimizer, schedule, steps=100)
    watched.assert_weights_update()
    watched.assert_weights_update(only=["*.weight"], min_update=1e-2)
    assert watched.record.step_count == 100
    assert sum(losses[-10:]) / 10 < 0.75 * losses[0]


@pytest.fixture
def tuned(model):
    """Only the last block and the last norm go on learning."""
    model.requires_grad_(requires_grad=False)
    model.blocks[-1].requires_grad_(requires_grad=True)
    model.norm.requires_grad_(requires_grad=True)
    return model


def test_the_frozen_part_stays(tuned, batch):
    optimizer, schedule = make_optimizer(tuned)
    record = assert_weights_frozen(tuned, lambda: train_step(tuned, optimizer, schedule, batch))
    assert not record.parameters["embed.weight"].moved
    assert record.parameters["norm.weight"].moved  # nothing moves where nothing is trained


def test_the_rest_is_trained(tuned, batch):
    optimizer, schedule = make_optimizer(tuned)
    assert_weights_update(tuned, lambda: train_step(tuned, optimizer, schedule, batch), only=["blocks.1.*", "norm.*"])


def test_writing_changes_nothing(model):
    assert_weights_frozen(model, lambda: write(model, "watch", count=20), only=["*"], steps=1)
