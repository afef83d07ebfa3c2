"""The causes in their order: a fault stands before the faults it hides."""

from __future__ import annotations

from collections.abc import Callable

from pytest_trainstep._record import ParameterRecord, StepRecord

from . import gradients, models, updates
from .because import Because

Rule = Callable[[ParameterRecord, StepRecord], Because | None]

RULES: tuple[Rule, ...] = (
    models.not_registered,
    models.requires_grad_false,
    models.weights_restored,
    updates.step_skipped,
    gradients.decay_only,
    gradients.momentum_only,
    gradients.non_finite,
    # which model, which optimizer
    updates.other_model_trained,
    updates.optimizer_not_observed,
    updates.accumulating,
    updates.stale_optimizer,
    updates.not_in_optimizer,
    # no gradient
    gradients.closure_without_backward,
    gradients.step_before_backward,
    gradients.gradients_cleared,
    updates.lost_update,
    updates.no_step,
    gradients.lost_loss,
    gradients.detached,
    gradients.no_backward,
    gradients.unused,
    # a gradient that moves nothing
    gradients.zero_gradient,
    updates.lr_zero,
    updates.closure_not_passed,
    updates.update_underflow,
    updates.update_not_written,
    models.update_too_small,
)


def name_of(rule: Rule) -> str:
    """Return the cause a rule answers for: its own name, in kebab case."""
    return ALIASES.get(rule.__name__, rule.__name__).replace("_", "-")


# two ways to be the same cause, at two places in the order
ALIASES = {"lost_update": "update_not_written", "lost_loss": "no_backward"}


def explain(parameter: ParameterRecord, record: StepRecord) -> tuple[str, Because]:
    """Return the first cause whose rule answers, and its answer; `unexplained` with the facts otherwise."""
    for rule in RULES:
        because = rule(parameter, record)
        if because is not None:
            return name_of(rule), because
    return UNEXPLAINED, _facts(parameter, record)


UNEXPLAINED = "unexplained"


def _facts(p: ParameterRecord, r: StepRecord) -> Because:
    stands = ", ".join(dict.fromkeys(one.gradient for one in p.occasions)) or p.gradient
    return Because(
        f"none of the known causes fits. Facts: {r.step_count} optimizer steps, {r.backward_count} backward"
        f" passes, {p.reached} reached it, gradient at the steps: {stands}, lr: {p.lr}, held by"
        f" {len(p.held_by)} optimizers.",
        "please report this step: a cause is missing in the catalogue.",
    )
