"""What a trainer consists of: parts in lists and inside the model, modes, averages, references."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from pytest_trainstep import ResumeMismatch, assert_resume_matches


class Noisy(nn.Module):
    """A model with state that its `state_dict` does not show."""

    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Linear(3, 4), nn.Linear(4, 1)
        self.calls = 0
        self.noise = torch.Generator().manual_seed(1)

    def forward(self, x):
        self.calls += 1
        hidden = torch.tanh(self.inner(x)) + torch.randn(4, generator=self.noise) / 10
        return self.outer(hidden) / self.calls


class Trainer:
    """A trainer that saves everything; subclasses forget something."""

    forgets = ""

    def __init__(self):
        torch.manual_seed(5)
        self.model = Noisy()
        self.optimizers = [torch.optim.Adam(one.parameters(), lr=0.05) for one in self.model.children()]
        self.average = {name: one.detach().clone() for name, one in self.model.named_parameters()}
        self.rows = torch.randn(8, 3)

    def step(self):
        loss = (self.model(self.rows) - 1).square().mean()
        loss.backward()
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        for name, one in self.model.named_parameters():
            self.average[name].lerp_(one.detach(), 0.2)
        return loss

    def state_dict(self):
        return {
            "model": self.model.state_dict(),
            "calls": self.model.calls,
            "noise": self.model.noise.get_state(),
            "optimizers": [one.state_dict() for one in self.optimizers],
        }

    def load_state_dict(self, state):
        self.model.load_state_dict(state["model"])
        if self.forgets != "calls":
            self.model.calls = state["calls"]
        if self.forgets != "noise":
            self.model.noise.set_state(state["noise"])
        kept = self.optimizers[1:] if self.forgets == "first optimizer" else self.optimizers
        for one, its_state in zip(kept, state["optimizers"][-len(kept) :], strict=True):
            one.load_state_dict(its_state)


def forgetting(what):
    return type("Forgetting", (Trainer,), {"forgets": what})


def finding_of(make_trainer, **kwargs):
    with pytest.raises(ResumeMismatch) as caught:
        assert_resume_matches(make_trainer, **{"steps": 3, **kwargs})
    return caught.value.finding


def test_everything_saved_resumes():
    assert_resume_matches(Trainer, steps=3)


@pytest.mark.parametrize(
    ("forgotten", "cause", "path"),
    [
        ("calls", "counter-lost", "model.calls"),
        ("noise", "random-state-lost", "model.noise"),
        ("first optimizer", "optimizer-state-lost", "optimizers[0]"),
    ],
)
def test_parts_inside_the_model_and_in_lists_are_named(forgotten, cause, path):
    finding = finding_of(forgetting(forgotten))
    assert finding.causes == (cause,)
    assert f"`{path}`" in finding.reasons[0].because


def test_an_average_in_a_dictionary_loaded_as_the_model_is_named():
    class Averaged(Trainer):
        def state_dict(self):
            return {**super().state_dict(), "model": self.average}

    finding = finding_of(Averaged)
    assert finding.causes == ("averaged-weights-loaded",)
    assert "`average`" in finding.reasons[0].because


def test_weights_that_are_not_loaded_at_all_are_no_average():
    class Unloaded(Trainer):
        def load_state_dict(self, state):
            super().load_state_dict({**state, "model": self.model.state_dict()})

    assert finding_of(Unloaded).causes == ("weights-lost",)


def test_an_optimizer_state_kept_by_reference_is_an_alias():
    class Referring(Trainer):
        def state_dict(self):
            state = super().state_dict()
            return {**copy.deepcopy(state), "optimizers": state["optimizers"]}

    assert finding_of(Referring, in_memory=True).causes == ("snapshot-aliased",)


def test_layers_thawed_once_and_frozen_after_loading_are_named():
    class Thawing(Trainer):
        def __init__(self):
            super().__init__()
            self.model.inner.requires_grad_(False)

        def step(self):
            if self.model.calls == 1:
                self.model.inner.requires_grad_(True)
            return super().step()

    assert finding_of(Thawing).causes == ("mode-lost",)


def test_a_group_added_in_training_and_missing_after_loading_is_named():
    class Growing(Trainer):
        def __init__(self):
            super().__init__()
            self.optimizers = [torch.optim.Adam(self.model.outer.parameters(), lr=0.05)]

        def step(self):
            if self.model.calls == 1:
                self.optimizers[0].add_param_group({"params": list(self.model.inner.parameters())})
            return super().step()

        def load_state_dict(self, state):
            try:
                super().load_state_dict(state)
            except ValueError:  # "loaded state dict has a different number of parameter groups"
                return

    finding = finding_of(Growing)
    assert finding.causes == ("optimizer-state-lost",)
    assert "held 4 parameters" in finding.reasons[0].because


def test_parameters_that_change_places_get_the_state_of_others():
    class Square(Trainer):
        def __init__(self):
            super().__init__()
            self.model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
            self.build(reverse=False)

        def build(self, *, reverse):
            weights = [layer.weight for layer in self.model]
            self.optimizers = [torch.optim.Adam(weights[::-1] if reverse else weights, lr=0.05)]

        def state_dict(self):
            return {"model": self.model.state_dict(), "optimizer": self.optimizers[0].state_dict()}

        def load_state_dict(self, state):
            self.model.load_state_dict(state["model"])
            self.build(reverse=True)
            self.optimizers[0].load_state_dict(state["optimizer"])

        def step(self):
            loss = self.model(self.rows).square().mean()
            loss.backward()
            self.optimizers[0].step()
            self.model.zero_grad()
            return loss

    assert finding_of(Square).causes == ("parameter-order-changed",)
