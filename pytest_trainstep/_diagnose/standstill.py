"""Why a parameter group never moved in a test of a suite: the rules of the audit, those that hide others first."""

from __future__ import annotations

from collections.abc import Callable

from pytest_trainstep._heard import Group, Heard

from .because import LOOK_INSIDE, Because, at, called, dtype_or_lr, plural

_ORDER = "put the calls in this order: zero_grad(), forward, backward(), step()."


def why(group: Group, heard: Heard) -> tuple[str, Because]:
    """Return the cause for a group that never moved, and its sentences."""
    for name, rule in RULES:
        because = rule(group, heard)
        if because is not None:
            return name, because
    facts = ", ".join(f"{count} {stand}" for stand, count in group.stands.items()) or "nothing was seen"
    return "unexplained", Because(
        f"none of the known causes fits. Facts: {plural(heard.steps, 'step')}, gradients: {facts}.",
        "please report this test: a cause is missing in the catalogue.",
    )


def _most(group: Group, *stands: str) -> bool:
    return 2 * sum(group.stands.get(stand, 0) for stand in stands) >= sum(group.stands.values()) > 0


def _absent(group: Group) -> bool:
    return _most(group, "none", "cleared", "hooked")


def _step_skipped(group: Group, heard: Heard) -> Because | None:
    if heard.steps or not heard.skipped:
        return None
    return Because(
        f"GradScaler skipped all {plural(heard.skipped, 'step')}: the scaled gradients were infinite or NaN.",
        "find the operation that overflows, or, if the scale is only still settling, run more steps.",
    )


def _frozen(group: Group, heard: Heard) -> Because | None:
    if group.tensors and group.frozen == group.tensors:
        return Because(
            f"none of its {plural(group.tensors, 'tensor')} requires a gradient.",
            "unfreeze them, or leave them out of the optimizer.",
        )
    return None


def _closure(group: Group, heard: Heard) -> Because | None:
    if not heard.closure or heard.closure_backward or not _absent(group) or _most(group, "cleared"):
        return None
    return Because(
        f"{heard.name}.step(closure){at(heard.stepped_at)} ran and the closure ran no backward pass.",
        "in the closure: zero_grad(), compute the loss, loss.backward(), return the loss.",
    )


def non_finite(heard: Heard) -> Because:
    """Say that weights, or the gradients for them, are NaN or infinite."""
    what = "weights" if heard.non_finite else "gradients"
    return Because(
        f"its {what} were NaN or infinite after a step{at(heard.stepped_at)}.",
        "find the first operation that is not finite: torch.autograd.set_detect_anomaly(True) names it.",
    )


def _stuck_at_nan(group: Group, heard: Heard) -> Because | None:
    return non_finite(heard) if _most(group, "non-finite") or heard.non_finite else None


def _orphaned(group: Group, heard: Heard) -> Because | None:
    return orphaned(heard) if group.orphans >= group.tensors - group.frozen and _absent(group) else None


def orphaned(heard: Heard) -> Because:
    """Say that the optimizer holds tensors that no model can use."""
    return Because(
        f"{called(heard)} holds {plural(heard.orphans, 'tensor')} of {heard.tensors} that never got a gradient and"
        " that nothing else refers to: no model uses them.",
        "build the optimizer from the parameters of the model that trains, after its layers are replaced, converted,"
        " copied or loaded with assign=True.",
    )


def _early(group: Group, heard: Heard) -> Because | None:
    if not _absent(group) or heard.backward_before or not heard.backward_after or heard.closure_backward:
        return None
    return Because(
        f"{heard.name}.step(){at(heard.stepped_at)} ran before the backward pass, so there was no gradient yet.", _ORDER
    )


def _scaled_to_zero(group: Group, heard: Heard) -> Because | None:
    # scaled gradients that were all positive look as if they had been cleared
    if "scaled-to-zero" not in group.stands or not _most(group, "zero", "scaled-to-zero", "cleared"):
        return None
    return Because(
        f"its gradients were multiplied by 0 before {heard.name}.step(){at(heard.stepped_at)} (clipping to a norm of 0"
        " does that).",
        "clip to a norm above 0, or do not clip at all.",
    )


def _cleared(group: Group, heard: Heard) -> Because | None:
    if not _most(group, "cleared"):
        return None
    remedy = "clear gradients before the forward pass or after the step, not between backward() and step()."
    if heard.closure_backward:
        remedy = "in the closure, clear gradients before the backward pass, not after it."
    return Because(
        f"gradients arrived and were cleared or zeroed before {heard.name}.step(){at(heard.stepped_at)} could use them.",
        remedy,
    )


def _cleared_by_a_hook(group: Group, heard: Heard) -> Because | None:
    if not _most(group, "hooked"):
        return None
    return Because(
        "these tensors have a hook that runs when their gradient has arrived (register_post_accumulate_grad_hook), and"
        f" none was left for {heard.name}.step(){at(heard.stepped_at)}: probably the hook clears it.",
        "let the hook leave the gradient, or step in the hook before it clears it.",
    )


def _no_backward(group: Group, heard: Heard) -> Because | None:
    if not _absent(group) or heard.backward_before or heard.closure_backward:
        return None
    if heard.differentiated:
        return Because(
            f"{heard.name}.step() ran{at(heard.stepped_at)}, but no backward pass did: torch.autograd.grad (or"
            " torch.func.grad) returns gradients and puts none into `.grad`.",
            "assign what it returns to `.grad`, or call loss.backward().",
        )
    return Because(
        f"{heard.name}.step() ran{at(heard.stepped_at)}, but no backward pass did: all gradients were None.",
        "call loss.backward() before optimizer.step().",
    )


def _other_model(group: Group, heard: Heard) -> Because | None:
    if not group.twin or not _absent(group):
        return None
    return Because(
        f"{plural(heard.backward_before + heard.backward_after, 'backward pass')} ran and none reached these tensors, but"
        f" another model ({group.twin}) with parameters of the same shapes has gradients: probably the loss is computed"
        " with that one, or these are cut off from it.",
        "build the optimizer and the loss over one and the same model object.",
    )


def _detached(group: Group, heard: Heard) -> Because | None:
    if not _absent(group):
        return None
    return Because(
        f"{plural(heard.backward_before + heard.backward_after, 'backward pass')} ran and none reached these tensors:"
        " probably they are cut off from the loss, or the loss is that of another model or of a copy.",
        "look for detach(), .item(), numpy or no_grad between them and the loss, and for a second model or loss.",
    )


def _zero(group: Group, heard: Heard) -> Because | None:
    if not _most(group, "zero") or group.stands["zero"] <= group.stands.get("usable", 0):
        return None
    return Because(
        "a gradient arrived and every element of it was exactly 0.",
        "check for saturated or dead units, zero initialisation, masks, and a loss that is constant in them.",
    )


def _lr_zero(group: Group, heard: Heard) -> Because | None:
    steps = heard.steps // heard.objects
    if 2 * group.lr_zero < steps or not group.lr_zero:
        return None
    return Because(
        f"the learning rate of the group was 0{at(heard.stepped_at)} in {group.lr_zero} of {plural(steps, 'step')}.",
        "give the group a learning rate above 0, or, if a scheduler begins at 0, run more steps.",
    )


def _underflow(group: Group, heard: Heard) -> Because | None:
    if group.wrote != "underflow":
        return None
    return Because(
        f"the update is smaller than {group.dtype} can add to these weights: a float64 replay of the step moves them.",
        dtype_or_lr(group.dtype, group.smallest_lr),
    )


def _needs_closure(group: Group, heard: Heard) -> Because | None:
    if not group.closure_helps or heard.closure:
        return None
    return Because(
        f"{heard.name} was stepped without a closure and wrote nothing; given one, it writes.",
        "pass a closure that clears the gradients, computes the loss, calls backward and returns the loss.",
    )


def _not_written(group: Group, heard: Heard) -> Because | None:
    if not group.stands.get("usable"):
        return None
    return Because(
        f"{heard.name} stepped{at(heard.stepped_at)} with a gradient that is not zero, and left every weight as it was.",
        f"{LOOK_INSIDE}.",
    )


RULES: tuple[tuple[str, Callable[[Group, Heard], Because | None]], ...] = (
    ("step-skipped", _step_skipped),
    ("requires-grad-false", _frozen),
    ("closure-without-backward", _closure),
    ("non-finite", _stuck_at_nan),
    ("step-before-backward", _early),
    ("no-backward", _no_backward),
    ("stale-optimizer", _orphaned),
    ("zero-gradient", _scaled_to_zero),
    ("gradients-cleared", _cleared),
    ("gradients-cleared", _cleared_by_a_hook),
    ("other-model-trained", _other_model),
    ("detached", _detached),
    ("zero-gradient", _zero),
    ("lr-zero", _lr_zero),
    ("update-underflow", _underflow),
    ("closure-not-passed", _needs_closure),
    ("update-not-written", _not_written),
)
