"""Whatever framework runs the training: a healthy run passes, and a fault planted into it is named."""

import logging
import warnings

import pytest
import torch
from torch import nn

from pytest_trainstep import WeightsNotUpdated, assert_weights_update, watch

pytestmark = [
    pytest.mark.framework,
    pytest.mark.filterwarnings("ignore"),  # frameworks warn about each other, and about this machine
]


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("TQDM_DISABLE", "1")
    torch.manual_seed(0)
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


def data():
    return torch.utils.data.TensorDataset(torch.randn(8, 3), torch.randn(8, 1))


def loader():
    return torch.utils.data.DataLoader(data(), batch_size=2)


def blamed(run, model, **arguments):
    """Run it under a watch; return the cause for each parameter that failed, empty where the claim holds."""
    with watch(model) as watched:
        run()
    try:
        watched.assert_weights_update(**arguments)
    except WeightsNotUpdated as error:
        return dict(error.finding.parameters), watched.record
    return {}, watched.record


class Body(nn.Module):
    """A layer that is trained, and one that is in the way of nobody."""

    def __init__(self, *, idle=False):
        super().__init__()
        self.layer = nn.Linear(3, 1)
        if idle:
            self.idle = nn.Linear(1, 1)

    def forward(self, x):
        return self.layer(x)


# Lightning.


def lightning_module(lightning, *, manual, forget=False):
    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.body = Body()
            self.head = nn.Linear(1, 1)
            self.automatic_optimization = not manual

        def training_step(self, batch, _number):
            x, y = batch
            loss = nn.functional.mse_loss(self.head(self.body(x)), y)
            if manual:
                optimizer = self.optimizers()
                optimizer.zero_grad()
                self.manual_backward(loss)
                optimizer.step()
            return loss

        def configure_optimizers(self):
            held = self.body.parameters() if forget else self.parameters()
            return torch.optim.Adam(held, lr=0.01)

    return Module()


@pytest.mark.parametrize("manual", [False, True], ids=["automatic", "manual"])
@pytest.mark.parametrize("forget", [False, True], ids=["healthy", "faulty"])
def test_lightning(manual, forget, tmp_path):
    lightning = pytest.importorskip("lightning")
    model = lightning_module(lightning, manual=manual, forget=forget)
    trainer = lightning.Trainer(
        max_steps=3,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    causes, record = blamed(lambda: trainer.fit(model, loader()), model)

    assert causes == (dict.fromkeys(["head.weight", "head.bias"], "not-in-optimizer") if forget else {})
    assert record.step_count == 3
    assert record.backward_count == 3


# Accelerate.


def accelerated(*, window=2, detach=False):
    accelerate = pytest.importorskip("accelerate")
    from accelerate.state import AcceleratorState, GradientState

    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=window)
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model, optimizer, batches = accelerator.prepare(model, optimizer, loader())
    batches = iter(batches)

    def step():
        x, y = next(batches)
        with accelerator.accumulate(model):
            h = model[0](x)
            loss = nn.functional.mse_loss(model[1](h.detach() if detach else h), y)
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()

    return model, step


def test_accelerate_with_accumulation():
    model, step = accelerated()
    record = assert_weights_update(model, step, steps=2)

    assert (record.step_count, record.backward_count) == (1, 2)
    assert record.steps[0].window == 2


def test_accelerate_inside_a_window_is_called_accumulating():
    model, step = accelerated(window=4)
    with pytest.raises(WeightsNotUpdated) as caught:
        assert_weights_update(model, step, rerun=False)

    assert caught.value.finding.causes == ("accumulating",)
    assert "accelerate is inside an accumulation window" in str(caught.value)


def test_accelerate_with_a_fault():
    model, step = accelerated(detach=True)
    with pytest.raises(WeightsNotUpdated) as caught:
        assert_weights_update(model, step, steps=2)

    assert caught.value.finding.parameters == dict.fromkeys(["0.weight", "0.bias"], "detached")


# Transformers.


@pytest.mark.parametrize("faulty", [False, True], ids=["healthy", "faulty"])
def test_transformers_trainer(faulty, tmp_path):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    config = transformers.BertConfig(
        vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, num_labels=2
    )
    model = transformers.BertForSequenceClassification(config)
    rows = [{"input_ids": [i % 20, 3, 4], "attention_mask": [1, 1, 1], "labels": i % 2} for i in range(8)]
    if faulty:
        model.bert.pooler.requires_grad_(False)
    trainer = transformers.Trainer(
        model=model,
        train_dataset=rows,
        args=transformers.TrainingArguments(
            output_dir=str(tmp_path),
            max_steps=2,
            per_device_train_batch_size=4,
            learning_rate=1e-2,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            use_cpu=True,
        ),
    )
    if faulty:
        trainer.create_optimizer()
        model.classifier = nn.Linear(8, 2)
    # a softmax does not feel what is added to all keys alike
    causes, record = blamed(trainer.train, model, frozen=["*.key.bias"])

    assert causes == (dict.fromkeys(["classifier.weight", "classifier.bias"], "stale-optimizer") if faulty else {})
    assert record.step_count == 2


# Ignite.


@pytest.mark.parametrize("faulty", [False, True], ids=["healthy", "faulty"])
def test_ignite(faulty):
    engine = pytest.importorskip("ignite.engine")
    model = Body(idle=faulty)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = engine.create_supervised_trainer(model, optimizer, nn.functional.mse_loss)
    causes, record = blamed(lambda: trainer.run(loader(), max_epochs=1), model)

    assert set(causes) == ({"idle.weight", "idle.bias"} if faulty else set())
    assert set(causes.values()) <= {"detached", "unused"}  # a watch does not run the step again to tell
    assert record.step_count == 4


# Skorch.


@pytest.mark.parametrize(
    "lr", [pytest.param(0.1, id="healthy"), pytest.param(0.0, id="faulty", marks=pytest.mark.still)]
)
def test_skorch(lr):
    skorch = pytest.importorskip("skorch")
    net = skorch.NeuralNetRegressor(Body, lr=lr, max_epochs=1, batch_size=4, train_split=None, verbose=0)
    net.initialize()
    dataset = data()
    causes, record = blamed(lambda: net.partial_fit(dataset.tensors[0], dataset.tensors[1]), net.module_)

    assert causes == (dict.fromkeys(["layer.weight", "layer.bias"], "lr-zero") if lr == 0 else {})
    assert record.step_count == 2
    assert record.steps[0].closure


def test_a_watch_emits_no_warning_of_its_own():
    model = Body()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        causes, _ = blamed(lambda: (model(torch.ones(1, 3)).sum().backward(), optimizer.step()), model)

    assert causes == {}
