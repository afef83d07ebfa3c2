"""What differs from process to process besides streams: addresses, memory, files, clocks, what outlives a trainer."""

from __future__ import annotations

import builtins
import datetime as dt
import functools
import io
import itertools
import os
import time

import pytest
import torch
from torch import nn

from pytest_trainstep import RunsNotReproduced, assert_runs_reproduce

NUMBERS = itertools.count()
FLAGS = {"seeded": False}
FIRST = True


class Trainer:
    """A correct trainer; subclasses let something take part that differs from run to run."""

    def __init__(self):
        torch.manual_seed(5)
        self.model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 1))
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.05)
        self.rows = torch.randn(8, 3)

    def factor(self):
        return 1.0

    def step(self):
        loss = (self.model(self.rows * self.factor()) - 1).square().mean()
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss


class SetOfParameters(Trainer):
    def step(self):
        with torch.no_grad():
            for one in set(self.model.parameters()):
                one.add_(torch.randn_like(one) / 10)
        return super().step()


class SortedById(Trainer):
    def factor(self):
        layers = sorted(self.model, key=id)
        return 1.0 + sum(place * list(self.model).index(one) for place, one in enumerate(layers))


class Unwritten(Trainer):
    def factor(self):
        unwritten = [torch.empty(size) for size in (128, 2048, 24_000) for _ in range(8)]
        return torch.cat(unwritten).nan_to_num(0, 1, 1).clamp(0, 1).mean() + 1


class ByDate(Trainer):
    def factor(self):
        return 1 + dt.datetime.now(tz=dt.UTC).microsecond / 1e6


class NumpyLikeEntropy(Trainer):
    def factor(self):
        return 1 + os.urandom(1)[0] / 255


class GeneratorWithoutSeed(Trainer):
    def factor(self):
        generator = torch.Generator()
        generator.seed()
        return 1 + torch.rand((), generator=generator)


class Counting(Trainer):
    def factor(self):
        return 1.0 + next(NUMBERS)


class CountingOnTheClass(Trainer):
    made = 0

    def __init__(self):
        super().__init__()
        type(self).made += 1

    def factor(self):
        return float(self.made)


class OnlyTheFirst(Trainer):
    def __init__(self):
        global FIRST
        super().__init__()
        self.first, FIRST = FIRST, False

    def factor(self):
        return 2.0 if self.first else 1.0


@functools.lru_cache
def cached():
    torch.manual_seed(3)
    return nn.Linear(3, 1)


class CachedModel(Trainer):
    def __init__(self):
        super().__init__()
        self.model = cached()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.05)


class Environment(Trainer):
    def factor(self):
        os.environ["TRAINSTEP_TEST_RUNS"] = number = os.environ.get("TRAINSTEP_TEST_RUNS", "") + "1"
        return float(len(number))


def finding_of(make_trainer):
    with pytest.raises(RunsNotReproduced) as caught:
        assert_runs_reproduce(make_trainer, steps=2)
    return caught.value.finding


@pytest.mark.parametrize(
    ("make_trainer", "cause"),
    [
        (SetOfParameters, "address-order"),
        (SortedById, "address-order"),
        (ByDate, "time-dependent"),
        (NumpyLikeEntropy, "system-entropy"),
        (GeneratorWithoutSeed, "system-entropy"),
        (Unwritten, "uninitialised-memory"),
    ],
)
def test_what_no_seed_controls_is_named(make_trainer, cause):
    assert finding_of(make_trainer).causes == (cause,)


@pytest.mark.parametrize(
    ("make_trainer", "name"),
    [
        (Counting, "NUMBERS"),
        (CountingOnTheClass, "CountingOnTheClass.made"),
        (OnlyTheFirst, "FIRST"),
        (CachedModel, "cached"),
        (Environment, "os.environ"),
    ],
)
def test_what_outlives_a_trainer_is_named(make_trainer, name, monkeypatch):
    monkeypatch.setenv("TRAINSTEP_TEST_RUNS", "")
    finding = finding_of(make_trainer)
    assert finding.causes == ("shared-state-mutated",)
    assert f"`{name}`" in finding.reasons[0].because


def test_a_file_of_the_run_before_is_named(tmp_path):
    file = tmp_path / "average.txt"

    class Continuing(Trainer):
        def factor(self):
            before = float(file.read_text()) if file.exists() else 1.0
            file.write_text(str(before * 0.9))
            return before

    finding = finding_of(Continuing)
    assert finding.causes == ("state-in-files",)
    assert str(file) in finding.reasons[0].because


def test_a_file_that_each_run_writes_before_it_reads_reproduces(tmp_path):
    file = tmp_path / "data.txt"

    class Own(Trainer):
        def factor(self):
            file.write_text("0.5")
            return float(file.read_text())

    assert_runs_reproduce(Own, steps=2)


def test_a_set_that_is_sorted_and_a_count_that_only_names_reproduce():
    class Naming(Trainer):
        def __init__(self):
            super().__init__()
            self.name = f"run {next(NUMBERS)} of {dt.datetime.now(tz=dt.UTC)}"
            FLAGS["seeded"] = True
            chosen = set(self.model.parameters())
            self.optimizer = torch.optim.SGD([one for one in self.model.parameters() if one in chosen], lr=0.05)

    assert_runs_reproduce(Naming, steps=2)


def test_looking_closer_that_fails_leaves_the_cause_unexplained():
    class Fragile(Trainer):
        def factor(self):
            if time.time() < 1.5e9:  # as the frozen clock says
                msg = "the clock is wrong"
                raise RuntimeError(msg)
            return 1.0 + next(NUMBERS)

    finding = finding_of(Fragile)
    assert finding.causes == ("unexplained",)
    assert "the clock is wrong" in finding.reasons[0].because


def test_nothing_that_was_swapped_stays_swapped():
    before = dt.datetime, torch.Generator, torch.Tensor.__hash__, nn.Module.__hash__, builtins.open, io.open
    settings = torch.are_deterministic_algorithms_enabled(), torch.get_default_dtype(), dict(os.environ)
    finding_of(ByDate)
    finding_of(SetOfParameters)
    assert before == (
        dt.datetime,
        torch.Generator,
        torch.Tensor.__hash__,
        nn.Module.__hash__,
        builtins.open,
        io.open,
    )
    assert settings == (torch.are_deterministic_algorithms_enabled(), torch.get_default_dtype(), dict(os.environ))
    assert "id" not in globals()
