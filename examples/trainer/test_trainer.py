"""What a user would claim about a training that somebody else's loop runs: `watch` around `Trainer.train()`."""

import pytest

pytest.importorskip("transformers")
pytest.importorskip("accelerate")  # the Trainer wants it

from pytest_trainstep import watch

from .train import freeze_embeddings, make_model, make_trainer

pytestmark = [pytest.mark.framework, pytest.mark.trainstep(seed=0)]


@pytest.fixture
def model():
    return make_model()


def test_the_trainer_updates_every_weight(model, tmp_path):
    trainer = make_trainer(model, tmp_path)
    with watch(model) as watched:
        trainer.train()
    record = watched.assert_weights_update()
    assert record.step_count == 4
    assert record.losses


def test_accumulated_batches_make_one_step(model, tmp_path):
    trainer = make_trainer(model, tmp_path, gradient_accumulation_steps=2, max_steps=2)
    with watch(model) as watched:
        trainer.train()
    record = watched.assert_weights_update()
    assert (record.step_count, record.backward_count) == (2, 4)


def test_a_warm_up_from_zero_is_no_fault(trainstep, model, tmp_path):
    trainer = make_trainer(model, tmp_path, warmup_steps=2)
    with trainstep.watch(model) as watched:
        trainer.train()
    record = watched.assert_weights_update()
    assert record.steps[0].lrs[0] == 0


def test_the_frozen_embeddings_stay(model, tmp_path):
    trainer = make_trainer(freeze_embeddings(model), tmp_path)
    with watch(model) as watched:
        trainer.train()
    watched.assert_weights_update()
    watched.assert_weights_frozen()


@pytest.mark.trainstep(only=["classifier.*"])
def test_only_the_classifier_is_asked_for(model, tmp_path):
    model.bert.requires_grad_(requires_grad=False)
    trainer = make_trainer(model, tmp_path)
    with watch(model) as watched:
        trainer.train()
    watched.assert_weights_update()
    watched.assert_weights_frozen(only=["bert.*"])
