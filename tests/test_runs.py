"""Two runs compared: the same seed gives the same result; a resumed run goes on as the uninterrupted one."""
# ruff: noqa: S311, NPY002 - the global streams are what these tests are about

from __future__ import annotations

import random
import time

import numpy as np
import pytest
import torch
from torch import nn

from pytest_trainstep import (
    ResumeMismatch,
    RunsNotReproduced,
    TrainStepUsageError,
    as_trainer,
    assert_resume_matches,
    assert_runs_reproduce,
)

BUFFER: list[float] = []
SHARED = torch.Generator().manual_seed(3)


class Trainer:
    """A correct trainer; subclasses put one fault into it."""

    lost: tuple[str, ...] = ()

    def __init__(self):
        self.seed()
        self.model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1))
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.05)
        self.scheduler = torch.optim.lr_scheduler.ExponentialLR(self.optimizer, 0.7)
        self.data = torch.randn(12, 3)
        self.count = 0

    def seed(self):
        torch.manual_seed(5)

    def batch(self):
        start = 4 * (self.count % 3)
        return self.data[start : start + 4]

    def step(self):
        batch = self.batch()
        self.count += 1
        self.optimizer.zero_grad()
        loss = (self.model(batch) - batch.sum(1, keepdim=True)).square().mean()
        loss.backward()
        self.optimizer.step()
        self.scheduler.step()
        return {"loss": loss.item()}

    def state_dict(self):
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "count": self.count,
            "random": torch.get_rng_state(),
        }
        return {key: value for key, value in state.items() if key not in self.lost}

    def load_state_dict(self, state):
        for part in ("model", "optimizer", "scheduler"):
            if part in state:
                getattr(self, part).load_state_dict(state[part])
        self.count = state.get("count", 0)
        if "random" in state:
            torch.set_rng_state(state["random"])


def losing(*parts):
    return type("Losing", (Trainer,), {"lost": parts})


class Unseeded(Trainer):
    def seed(self):
        pass


class PythonRandom(Trainer):
    def batch(self):
        return super().batch() * (1 + random.random())


class NumpyRandom(Trainer):
    def batch(self):
        return super().batch() + torch.from_numpy(np.random.rand(4, 3)).float()


class SystemRandom(Trainer):
    def batch(self):
        return super().batch() * (1 + random.SystemRandom().random())


class SeededLate(Trainer):
    def seed(self):
        torch.randn(1)

    def __init__(self):
        super().__init__()
        torch.manual_seed(5)


class ByClock(Trainer):
    def batch(self):
        return super().batch() * (time.time_ns() % 1000)


class DefaultList(Trainer):
    def batch(self, seen=BUFFER):
        seen.append(1.0)
        return super().batch() * len(seen)


class SharedGenerator(Trainer):
    def batch(self):
        return super().batch() + torch.randn(4, 3, generator=SHARED)


@pytest.mark.parametrize(
    ("make_trainer", "cause"),
    [
        (Unseeded, "unseeded-torch"),
        (PythonRandom, "unseeded-python-random"),
        (NumpyRandom, "unseeded-numpy"),
        (SystemRandom, "system-entropy"),
        (SeededLate, "seeded-too-late"),
        (ByClock, "time-dependent"),
        (DefaultList, "shared-state-mutated"),
        (SharedGenerator, "shared-state-mutated"),
    ],
)
def test_what_a_run_depends_on_is_named(make_trainer, cause):
    with pytest.raises(RunsNotReproduced) as caught:
        assert_runs_reproduce(make_trainer, steps=2)
    assert caught.value.finding.causes == (cause,)


def test_a_seeded_run_reproduces():
    assert_runs_reproduce(Trainer, steps=3)


def test_a_pair_of_model_and_step_is_a_trainer():
    def make():
        trainer = Trainer()
        return trainer.model, trainer.step

    assert_runs_reproduce(make, steps=2)


def test_a_private_generator_and_a_logged_time_reproduce():
    class Logging(Trainer):
        def __init__(self):
            super().__init__()
            self.own = random.Random(1)
            self.times = []

        def batch(self):
            self.times.append(time.perf_counter())
            return super().batch() * (1 + self.own.random())

    assert_runs_reproduce(Logging, steps=2)


def test_the_streams_and_the_clock_of_the_user_are_untouched():
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    clock = time.time
    with pytest.raises(RunsNotReproduced):
        assert_runs_reproduce(Unseeded, steps=2)
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tolist() == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])
    assert time.time is clock


def test_two_interpreters_disagree_about_the_order_of_a_set(tmp_path, monkeypatch):
    (tmp_path / "sets.py").write_text(
        "import torch\n"
        "def make():\n"
        "    torch.manual_seed(0)\n"
        "    names = list({'query', 'key', 'value', 'output'})\n"
        "    model = torch.nn.ModuleDict({name: torch.nn.Linear(2, 1) for name in names})\n"
        "    return model, lambda: None\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import sets

    assert_runs_reproduce(sets.make, steps=1)
    with pytest.raises(RunsNotReproduced) as caught:
        assert_runs_reproduce(sets.make, steps=1, processes=True)
    assert caught.value.finding.causes == ("hash-order",)


def test_a_local_function_cannot_run_in_another_process():
    with pytest.raises(TrainStepUsageError, match="top level of a file"):
        assert_runs_reproduce(lambda: None, processes=True)


def test_something_that_is_no_trainer_is_refused():
    with pytest.raises(TrainStepUsageError, match=r"\.model and \.step"):
        assert_runs_reproduce(dict, steps=1)


def test_a_complete_checkpoint_resumes():
    assert_resume_matches(Trainer, steps=3)


def test_a_complete_checkpoint_resumes_in_memory():
    import copy

    class Copying(Trainer):
        def state_dict(self):
            return copy.deepcopy(super().state_dict())

    assert_resume_matches(Copying, steps=2, in_memory=True)


@pytest.mark.parametrize(
    ("lost", "cause"),
    [
        (("optimizer",), "optimizer-state-lost"),
        (("scheduler", "optimizer"), "optimizer-state-lost"),
        (("random",), "random-state-lost"),
        (("count",), "data-position-lost"),
        (("model",), "weights-lost"),
    ],
)
def test_what_a_checkpoint_lacks_is_named(lost, cause):
    with pytest.raises(ResumeMismatch) as caught:
        assert_resume_matches(losing(*lost), steps=2)
    assert cause in caught.value.finding.causes


def test_a_living_state_dict_is_no_snapshot():
    with pytest.raises(ResumeMismatch) as caught:
        assert_resume_matches(Trainer, steps=2, in_memory=True)
    assert caught.value.finding.causes == ("snapshot-aliased",)


def test_a_buffer_that_is_not_saved_is_named():
    class NoBuffers(Trainer):
        def state_dict(self):
            weights = {name: one.detach().clone() for name, one in self.model.named_parameters()}
            return {**super().state_dict(), "model": weights}

        def load_state_dict(self, state):
            own = self.model.state_dict()
            super().load_state_dict({**state, "model": {**own, **state["model"]}})

    with pytest.raises(ResumeMismatch) as caught:
        assert_resume_matches(NoBuffers, steps=2)
    assert caught.value.finding.causes == ("buffer-not-saved",)


def test_saving_that_leaves_eval_mode_behind_is_named():
    class Disturbing(Trainer):
        def state_dict(self):
            self.model.eval()
            return super().state_dict()

    with pytest.raises(ResumeMismatch) as caught:
        assert_resume_matches(Disturbing, steps=2)
    assert caught.value.finding.causes == ("saving-disturbs-run",)


def test_an_optimizer_over_a_reversed_list_is_named():
    class Reversed(Trainer):
        made = 0

        def __init__(self):
            super().__init__()
            Reversed.made += 1
            parameters = list(self.model.parameters())
            if Reversed.made > 2:
                parameters = [*parameters[1:2], parameters[0], *parameters[2:]]
            self.optimizer = torch.optim.SGD(parameters[::-1], lr=0.05, momentum=0.0)
            self.scheduler = torch.optim.lr_scheduler.ExponentialLR(self.optimizer, 0.7)

    assert_resume_matches(Reversed, steps=1)  # without state per parameter the order does not matter


def test_a_training_that_does_not_repeat_cannot_be_judged():
    with pytest.raises(ResumeMismatch) as caught:
        assert_resume_matches(SystemRandom, steps=1)
    assert caught.value.finding.causes == ("not-reproducible",)


def test_a_trainer_without_state_dict_is_refused():
    with pytest.raises(TrainStepUsageError, match="state_dict"):
        assert_resume_matches(lambda: (nn.Linear(1, 1), lambda: None))


def test_functions_make_a_trainer_that_can_be_resumed():
    def make():
        inner = Trainer()
        return as_trainer(inner.model, inner.step, state_dict=inner.state_dict, load_state_dict=inner.load_state_dict)

    assert_runs_reproduce(make, steps=2)
    assert_resume_matches(make, steps=2)
