"""What a user would claim about `train.py`."""

import pytest
import torch

from pytest_trainstep import assert_weights_frozen, assert_weights_update, watch

from .train import DigitNet, batches, evaluate, load_digits, reuse, train, train_step

pytestmark = pytest.mark.trainstep(seed=0)


@pytest.fixture(scope="module")
def digits():
    return load_digits()


@pytest.fixture(scope="module")
def batch(digits):
    training, _ = digits
    return next(iter(batches(training)))


@pytest.fixture
def model():
    return DigitNet()


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW])
def test_one_step_updates_every_weight(model, batch, kind):
    optimizer = kind(model.parameters(), lr=1e-2)
    assert_weights_update(model, lambda: train_step(model, optimizer, batch))


def test_the_first_step_is_of_a_sensible_size(model, batch):
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    record = assert_weights_update(model, lambda: train_step(model, optimizer, batch))
    assert 1e-4 < record.parameters["head.weight"].update_ratio < 1


def test_it_trains_on_the_device_that_was_asked_for(trainstep, trainstep_device, model, batch):
    model.to(trainstep_device)
    images, labels = (tensor.to(trainstep_device) for tensor in batch)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    trainstep.assert_weights_update(model, lambda: train_step(model, optimizer, (images, labels)))


def test_the_whole_training_updates_the_weights_and_reads_digits(model, digits):
    training, testing = digits
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    with watch(model) as watched:
        train(model, optimizer, batches(training), epochs=5)
    record = watched.assert_weights_update()
    assert record.step_count == 5 * (len(training) // 64)
    assert all(step.fresh == len(record.parameters) for step in record.steps)
    assert evaluate(model, testing) > 0.95


def test_evaluation_leaves_every_weight_and_statistic_alone(model, digits):
    _, testing = digits
    assert_weights_frozen(model, lambda: evaluate(model, testing), only=["*"], buffers=True)


@pytest.fixture
def reader(model):
    """Tells even from odd, on top of what a network for ten digits sees."""
    return reuse(model, classes=2)


@pytest.fixture
def parity(batch):
    images, labels = batch
    return images, labels % 2


def test_only_the_new_head_is_trained(reader, parity):
    optimizer = torch.optim.AdamW(reader.head.parameters(), lr=3e-3)
    record = assert_weights_update(reader, lambda: train_step(reader, optimizer, parity))
    assert [name for name, row in record.parameters.items() if row.moved] == ["head.weight", "head.bias"]


def test_the_reused_features_stay(reader, parity):
    reader.features.eval()  # or the batch norms would go on counting
    optimizer = torch.optim.AdamW(reader.head.parameters(), lr=3e-3)
    record = assert_weights_frozen(reader, lambda: train_step(reader, optimizer, parity), steps=3, buffers=True)
    assert record.parameters["head.weight"].moved  # nothing moves where nothing is trained


@pytest.mark.trainstep(steps=2)
def test_both_claims_about_one_training(trainstep, reader, parity):
    optimizer = torch.optim.AdamW(reader.head.parameters(), lr=3e-3)
    with trainstep.watch(reader) as watched:
        train(reader, optimizer, [parity] * 4, epochs=1)
    watched.assert_weights_update(only=["head.*"])
    watched.assert_weights_frozen(only=["features.*"])
