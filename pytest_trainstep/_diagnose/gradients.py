"""Causes that lie with the gradient: absent, thrown away, zero, not finite."""

from __future__ import annotations

from pytest_trainstep._record import Evidence, ParameterRecord, StepRecord

from .because import ABSENT, ZEROS, Because, at, blamed, called, mostly, number, plural, stepped

_NUMBERS = ("item", "tolist", "numpy", "__float__", "__array__", "tensor", "as_tensor")
_ORDER_FIX = "put the calls in this order: zero_grad(), forward, backward(), step()."


def non_finite(p: ParameterRecord, r: StepRecord) -> Because | None:
    """Gradients or weights are NaN or infinite."""
    if p.evidence.non_finite_loss and not stepped(p, r):
        return Because(
            "the loss was NaN or infinite, and no optimizer step was made with it.",
            "find the operation that makes the loss non-finite (log(0), 0/0, overflow) in this batch.",
        )
    if mostly(p, "non-finite") or not p.finite:
        what = "weights are" if not p.finite else "gradients were"
        return Because(
            f"their {what} NaN or infinite; a NaN that stays NaN has not moved.",
            "find the first operation that is not finite: torch.autograd.set_detect_anomaly(True) names it.",
        )
    if p.grad_max is not None and not number(p.grad_max).lstrip("-")[0].isdigit() and not stepped(p, r):
        return Because(
            "their gradients were NaN or infinite, and no optimizer step was made with them.",
            "find the first operation that is not finite: torch.autograd.set_detect_anomaly(True) names it.",
        )
    return None


def closure_without_backward(p: ParameterRecord, r: StepRecord) -> Because | None:
    """A closure was given and never ran backward."""
    steps = [one for one in p.occasions if one.closure and not one.closure_ran_backward and one.gradient in ABSENT]
    if not steps or 2 * len(steps) < len(p.occasions):
        return None
    optimizer = r.optimizers[steps[-1].optimizer]
    return Because(
        f"{optimizer.name}.step(closure){at(optimizer.stepped_at)} ran and no backward pass did: the closure"
        " returned a loss without calling backward().",
        "in the closure: zero_grad(), compute the loss, loss.backward(), return the loss.",
    )


def step_before_backward(p: ParameterRecord, r: StepRecord) -> Because | None:
    """The step ran before the first backward; there was no gradient yet."""
    early = [one for one in blamed(p, *ABSENT) if not one.backward_before and not one.closure_ran_backward]
    if not early or p.reached == 0:
        return None
    first = r.calls == 1 and p.occasions[0] in early  # within one call the first step decides
    if not first and 2 * len(early) < len(p.occasions):
        return None
    optimizer = r.optimizers[early[0].optimizer]
    later = next((one.at for one in r.backwards if one.call == early[0].call), None)
    return Because(
        f"{optimizer.name}.step(){at(optimizer.stepped_at)} ran before the backward pass{at(later)},"
        " so there was no gradient yet.",
        _ORDER_FIX,
    )


def gradients_cleared(p: ParameterRecord, r: StepRecord) -> Because | None:
    """Gradients existed and were set to None or zeroed between backward and step."""
    if p.evidence.hook_zeroes and mostly(p, *ZEROS):
        return Because(
            "a hook registered on the parameter turned its gradient into zeros.",
            "look at the function given to register_hook: what it returns replaces the gradient.",
        )
    if p.evidence.hook_takes and p.in_graph and mostly(p, *ABSENT):
        return Because(
            "backward reached them, and a hook (register_post_accumulate_grad_hook) took the gradients away"
            " before any optimizer step could use them.",
            "step inside the hook, or leave the gradients where they are.",
        )
    if not mostly(p, "cleared", "zeroed"):
        return None
    optimizer = r.optimizers[p.occasions[-1].optimizer]
    how = "set to None" if blamed(p, "cleared") else "zeroed"
    evidence = p.evidence
    by = f" by `{evidence.cleared_by}`{at(evidence.cleared_at)}" if evidence.cleared_by else ""
    return Because(
        f"the gradients of the backward pass were {how}{by} before {optimizer.name}.step()"
        f"{at(optimizer.stepped_at)} could use them.",
        "clear gradients before the forward pass or after the step, not between backward() and step().",
    )


def lost_loss(p: ParameterRecord, r: StepRecord) -> Because | None:
    """A loss that depends on them was computed, and backward was called on others only."""
    evidence = p.evidence
    if not evidence.lost_loss_at or not r.backward_count or not _unreached(p) or p.in_graph:
        return None
    if evidence.cut_by in _NUMBERS or any(one.detached_root for one in r.backwards):
        return None  # its value did go on, as a Python number
    return Because(
        f"a loss that depends on them was computed{at(p.evidence.lost_loss_at)} and never given to backward();"
        f" the {plural(r.backward_count, 'backward pass')} that ran began at other losses.",
        "call backward() on that loss before the step.",
    )


def no_backward(p: ParameterRecord, r: StepRecord) -> Because | None:
    """An optimizer stepped but no backward pass ran for these parameters."""
    if not mostly(p, *ABSENT) or p.reached or (p.in_graph and r.backward_count):
        return None
    optimizer = r.optimizers[p.occasions[-1].optimizer]
    if r.backward_count:
        return None
    if r.failed_backward:
        return Because(
            f"backward() raised and the exception was swallowed ({r.failed_backward}); no gradient was made.",
            "let the exception through, and mend what it says.",
        )
    return Because(
        f"{optimizer.name}.step() ran{at(optimizer.stepped_at)}, but no backward pass did: all gradients were None.",
        "call loss.backward() before optimizer.step().",
    )


def detached(p: ParameterRecord, r: StepRecord) -> Because | None:
    """The loss was computed from them, or should be, but the graph is cut."""
    if not _unreached(p):
        return None
    if r.failed_backward and not r.backward_count and "require grad" not in r.failed_backward:
        return None
    if p.in_graph and not p.reached:
        return Because(
            "the graph leads to them, but no gradient came out: a function on the way returns None for them.",
            "return their gradient from the backward() of the custom autograd.Function.",
        )
    if p.evidence.cut_by is not None:
        return _cut(p.evidence)
    return _probably_detached(p, r)


def _cut(evidence: Evidence) -> Because:
    where = f"the graph ends at `{evidence.cut_by}`{at(evidence.cut_at)}"
    if evidence.cut_no_grad:
        where = (
            f"gradient recording was off at `{evidence.cut_by}`{at(evidence.cut_at)}"
            " (no_grad, inference_mode, set_grad_enabled(False), or a re-entrant checkpoint)"
        )
    return Because(
        f"the loss depends on them, but autograd does not know: {where}.",
        "keep the tensor in the graph: remove the detach / .item() / numpy round trip, or record gradients there.",
    )


def _probably_detached(p: ParameterRecord, r: StepRecord) -> Because | None:
    if any(one.detached_root for one in r.backwards) and p.evidence.in_loss is not False:
        return Because(
            "backward() was called on a new leaf tensor (torch.tensor(...) of a value), which has no graph behind it.",
            "call backward() on the loss itself, not on a tensor rebuilt from its value.",
        )
    if p.evidence.in_loss is None and r.backward_count:
        return Because(
            f"{plural(r.backward_count, 'backward pass')} ran and none reached them: detached or unused, probably detached.",
            "look for detach(), .item(), numpy or no_grad between them and the loss.",
        )
    return None


def unused(p: ParameterRecord, r: StepRecord) -> Because | None:
    """Registered and trainable, but nothing the loss depends on uses them."""
    if not _unreached(p) or not r.backward_count:
        return None
    how = "they took part in the forward pass, but the loss does not depend on the result"
    if p.evidence.ran is False:
        how = "nothing in the step used them"
    return Because(
        f"{plural(r.backward_count, 'backward pass')} ran and none reached them: {how}.",
        "use them in forward (is the right variable passed on?), or remove them.",
    )


def _unreached(p: ParameterRecord) -> bool:
    return p.reached == 0 and (mostly(p, *ABSENT) or not p.occasions)


def zero_gradient(p: ParameterRecord, r: StepRecord) -> Because | None:
    """A gradient arrived and every element is exactly zero."""
    if not mostly(p, *ZEROS):
        return None
    evidence = p.evidence
    if blamed(p, "scaled-to-zero"):
        return Because(
            "their gradients were multiplied by 0 between backward and step (clipping to a norm of 0 does that).",
            "clip to a norm above 0, or do not clip at all.",
        )
    if evidence.flat_by is not None:
        return Because(
            f"a gradient arrived and is exactly 0 everywhere: behind `{evidence.flat_by}`{at(evidence.flat_at)}"
            " nothing of them comes through (all outputs 0, or a derivative that is 0 everywhere).",
            "check for dead units, zero initialisation of both factors, masks, or a rounding without straight-through.",
        )
    return Because(
        "a gradient arrived in each step and every element of it was exactly 0.",
        "check for saturated or dead units, zero initialisation, masks, and a loss that is constant in them.",
    )


def decay_only(p: ParameterRecord, r: StepRecord) -> Because | None:
    """They moved, but in every step in which they moved their gradient was exactly zero: decay moved them."""
    moves = [one for one in p.occasions if one.moved and one.gradient in ZEROS]
    if not moves or p.gradient_moved or p.outside_moved or not p.weight_decay:
        return None
    optimizer = r.optimizers[moves[-1].optimizer]
    return Because(
        f"they moved, but their gradient was exactly 0 in {plural(len(moves), 'step')}:"
        f" weight_decay {number(p.weight_decay)} of {called(optimizer)} moved them.",
        "find out why no gradient arrives (dead units, masks, a constant loss); decay alone only shrinks them.",
    )


def momentum_only(p: ParameterRecord, r: StepRecord) -> Because | None:
    """They moved, but in every step in which they moved their gradient was exactly zero: old momentum moved them."""
    moves = [one for one in p.occasions if one.moved and one.gradient in ZEROS]
    if not moves or p.gradient_moved or p.outside_moved or p.weight_decay:
        return None
    optimizer = r.optimizers[moves[-1].optimizer]
    return Because(
        f"they moved, but their gradient was exactly 0 in {plural(len(moves), 'step')}:"
        f" the state that {called(optimizer)} keeps from earlier steps moved them.",
        "find out why no gradient arrives any more (dead units, masks, a constant loss).",
    )
