"""The value of the fixture `trainstep`: every assertion and `watch`, each found when it is first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest_trainstep

if TYPE_CHECKING:
    from pytest_trainstep import assertions


def names() -> list[str]:
    """Return the public names that do something to a model: the assertions and ``watch``."""
    return [name for name in pytest_trainstep.__all__ if name == "watch" or name.startswith("assert_")]


class TrainStep:
    """Every assertion and ``watch``. Without state: one serves a whole session, also under ``@given``."""

    if TYPE_CHECKING:
        assert_accumulation_matches = staticmethod(assertions.assert_accumulation_matches)
        assert_batch_overfits = staticmethod(assertions.assert_batch_overfits)
        assert_detects = staticmethod(assertions.assert_detects)
        assert_evaluation_pure = staticmethod(assertions.assert_evaluation_pure)
        assert_evaluation_repeatable = staticmethod(assertions.assert_evaluation_repeatable)
        assert_gradients_flow = staticmethod(assertions.assert_gradients_flow)
        assert_gradients_fresh = staticmethod(assertions.assert_gradients_fresh)
        assert_loss_falls = staticmethod(assertions.assert_loss_falls)
        assert_loss_starts_at = staticmethod(assertions.assert_loss_starts_at)
        assert_memory_flat = staticmethod(assertions.assert_memory_flat)
        assert_optimizer_covers = staticmethod(assertions.assert_optimizer_covers)
        assert_positions_causal = staticmethod(assertions.assert_positions_causal)
        assert_resume_matches = staticmethod(assertions.assert_resume_matches)
        assert_runs_reproduce = staticmethod(assertions.assert_runs_reproduce)
        assert_samples_independent = staticmethod(assertions.assert_samples_independent)
        assert_step_finite = staticmethod(assertions.assert_step_finite)
        assert_step_sound = staticmethod(assertions.assert_step_sound)
        assert_update_matches = staticmethod(assertions.assert_update_matches)
        assert_weights_frozen = staticmethod(assertions.assert_weights_frozen)
        assert_weights_update = staticmethod(assertions.assert_weights_update)
        watch = staticmethod(assertions.watch)
    else:

        def __getattr__(self, name: str) -> object:
            if name not in names():
                raise AttributeError(f"trainstep has no {name!r}; it has {', '.join(names())}")
            return getattr(pytest_trainstep, name)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *names()]

    def __repr__(self) -> str:
        # Short and stable, because Hypothesis prints the value of a fixture inside the failing example.
        return "trainstep"
