"""Which parameters no gradient reaches, and why."""

from __future__ import annotations

from pytest_trainstep._record import ParameterRecord, StepRecord

from . import gradients, updates
from .because import ABSENT, ZEROS, Because, at, plural
from .rules import UNEXPLAINED


def flows(p: ParameterRecord) -> bool:
    """Tell whether a gradient that is not exactly zero has come; what was not followed is told from the steps."""
    if p.flowed:
        return True
    if p.flowed is not None:
        return False
    if p.gradient_moved or (p.reached and not p.occasions):
        return p.grad_max != 0
    return any(one.gradient not in (*ABSENT, *ZEROS, "frozen") for one in p.occasions)


def explain(p: ParameterRecord, r: StepRecord) -> tuple[str, Because]:
    """Return the first cause that fits."""
    for name, rule in _RULES.items():
        because = rule(p, r)
        if because is not None:
            return name, because
    return UNEXPLAINED, Because(
        f"none of the known causes fits. Facts: {plural(r.backward_count, 'backward pass')}, {p.reached} reached it,"
        f" in the graph: {p.in_graph}, gradient at the end: {p.gradient}.",
        "please report this step: a cause is missing in the catalogue.",
    )


def _frozen(p: ParameterRecord, r: StepRecord) -> Because | None:
    if p.trainable:
        return None
    return Because(
        "requires_grad was False throughout the step, so no gradient was computed.",
        "call requires_grad_(True) on them before the step, or leave them out of the claim.",
    )


def _no_backward(p: ParameterRecord, r: StepRecord) -> Because | None:
    if r.backward_count or p.reached:
        return None
    if r.failed_backward:
        return Because(
            f"backward() raised and the exception was swallowed ({r.failed_backward}); no gradient was made.",
            "let the exception through, and mend what it says.",
        )
    return Because(
        "no backward pass ran, so there is no gradient.", "call loss.backward() in the step (or pass a larger steps=)."
    )


def _hooked(p: ParameterRecord, r: StepRecord) -> Because | None:
    if not p.evidence.hook_zeroes:
        return None
    return Because(
        "a hook registered on the parameter turned its gradient into zeros.",
        "look at the function given to register_hook: what it returns replaces the gradient.",
    )


def _zero(p: ParameterRecord, r: StepRecord) -> Because | None:
    if not p.reached and not p.in_graph:
        return None
    if p.evidence.flat_by is not None:
        return Because(
            f"a gradient arrived and is exactly 0 everywhere: behind `{p.evidence.flat_by}`{at(p.evidence.flat_at)}"
            " nothing of them comes through (all outputs 0, or a derivative that is 0 everywhere).",
            "check for dead units, zero initialisation of both factors, masks, or a rounding without straight-through.",
        )
    return Because(
        f"{plural(p.reached, 'backward pass')} reached them, and every element of what came was exactly 0.",
        "check for saturated or dead units, a softmax over one entry, two factors that both start at zero, masks,"
        " and a loss that is constant in them.",
    )


_RULES = {
    "requires-grad-false": _frozen,
    "other-model-trained": updates.other_model_trained,
    "no-backward": _no_backward,
    "gradients-cleared": _hooked,
    "zero-gradient": _zero,
    "detached": gradients.detached,
    "unused": gradients.unused,
}
