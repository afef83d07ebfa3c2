"""Trainers of frameworks in one line, as docs/claims.md says it."""

from __future__ import annotations

import logging
import warnings

import pytest
import torch

from pytest_trainstep import RunsNotReproduced, as_trainer, assert_runs_reproduce

pytestmark = [pytest.mark.filterwarnings("ignore::"), pytest.mark.usefixtures("quiet")]


@pytest.fixture
def quiet():
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def lightning_trainer(*, seeded):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import lightning

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(4, 2)

        def training_step(self, batch, _index):
            return self.layer(batch).square().mean()

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), lr=0.05)

    if seeded:
        torch.manual_seed(1)
    module = Module()
    loader = torch.utils.data.DataLoader(torch.randn(16, 4), batch_size=4, shuffle=True)
    off = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = lightning.Trainer(max_epochs=1, accelerator="cpu", **off)
    return as_trainer(module, lambda: trainer.fit(module, loader))


def test_a_lightning_trainer_is_compared_in_one_line():
    pytest.importorskip("lightning")
    assert_runs_reproduce(lambda: lightning_trainer(seeded=True), steps=1)
    with pytest.raises(RunsNotReproduced) as caught:
        assert_runs_reproduce(lambda: lightning_trainer(seeded=False), steps=1)
    assert caught.value.finding.causes == ("unseeded-torch",)


def test_a_transformers_trainer_is_compared_in_one_line(tmp_path):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")

    def make_trainer():
        transformers.set_seed(3)
        config = transformers.GPT2Config(
            vocab_size=11, n_positions=8, n_embd=8, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0
        )
        rows = [{"input_ids": list(range(6)), "labels": list(range(6))} for _ in range(4)]
        off = {"report_to": [], "save_strategy": "no", "logging_strategy": "no", "disable_tqdm": True}
        arguments = transformers.TrainingArguments(str(tmp_path), max_steps=2, use_cpu=True, **off)
        trainer = transformers.Trainer(transformers.GPT2LMHeadModel(config), arguments, train_dataset=rows)
        return as_trainer(trainer.model, trainer.train)

    assert_runs_reproduce(make_trainer, steps=1)
