"""Causes that lie with the optimizer: not called, not holding, not writing."""

from __future__ import annotations

from pytest_trainstep._record import ParameterRecord, StepRecord

from .because import (
    ABSENT,
    LOOK_INSIDE,
    ZEROS,
    Because,
    at,
    called,
    dtype_or_lr,
    mostly,
    named,
    number,
    plural,
    stepped,
)


def step_skipped(p: ParameterRecord, r: StepRecord) -> Because | None:
    """A gradient scaler skipped the step because of NaN or infinity."""
    skips = [one for one in p.occasions if one.skipped]
    if not skips or len(skips) < len(p.occasions):
        return None
    optimizer = r.optimizers[skips[-1].optimizer]
    return Because(
        f"GradScaler skipped {optimizer.name}.step() in all of {plural(len(skips), 'step')}:"
        " the scaled gradients were infinite or NaN each time.",
        "find the operation that overflows (log(0), 0/0, a loss in float16), or, if the scale is only"
        " still settling, run more steps.",
    )


def lr_zero(p: ParameterRecord, r: StepRecord) -> Because | None:
    """The learning rate of their group was 0 at the step."""
    steps = [one for one in p.occasions if one.lr == 0 and one.gradient not in (*ABSENT, *ZEROS)]
    if not steps or 2 * len(steps) < len(p.occasions):
        return None
    optimizer = r.optimizers[steps[-1].optimizer]
    return Because(
        f"the learning rate was 0 in {len(steps)} of {plural(optimizer.steps, 'step')} of"
        f" {called(optimizer)}{at(optimizer.stepped_at)}.",
        "give the group a learning rate above 0, or, if a scheduler begins at 0, step the scheduler"
        " and run more steps.",
    )


def update_underflow(p: ParameterRecord, r: StepRecord) -> Because | None:
    """The update is below the resolution of the dtype; the message says which lr or dtype would move them."""
    underflow = p.evidence.underflow
    if underflow is None or not p.occasions:
        return None
    share = 100 * underflow.swallowed
    return Because(
        f"at lr {number(underflow.lr)} the update (median {number(underflow.wanted)}) is smaller than"
        f" {p.dtype} can add to these weights (spacing {number(underflow.spacing)}): a float64 replay"
        f" of the step shows rounding keeps {share:.3g} % of their elements in place.",
        dtype_or_lr(p.dtype, underflow.smallest_lr),
    )


def closure_not_passed(p: ParameterRecord, r: StepRecord) -> Because | None:
    """The optimizer needs a closure to do anything and got none."""
    if not p.evidence.closure_helps or any(one.closure for one in p.occasions):
        return None
    optimizer = r.optimizers[p.occasions[-1].optimizer] if p.occasions else None
    name = called(optimizer) if optimizer else "the optimizer"
    return Because(
        f"{name} was stepped without a closure and wrote nothing; given one, it writes.",
        "pass a closure that clears the gradients, computes the loss, calls backward and returns the loss.",
    )


def update_not_written(p: ParameterRecord, r: StepRecord) -> Because | None:
    """An optimizer stepped with a fresh, non-zero gradient and an lr that would move them, and wrote nothing to them."""
    usable = [one for one in p.occasions if one.gradient not in (*ABSENT, *ZEROS, "non-finite")]
    if not usable or not mostly(p, *(one.gradient for one in usable)):
        return None
    optimizer = r.optimizers[usable[-1].optimizer]
    lr = "" if p.lr is None else f" and lr {number(p.lr)}"
    return Because(
        f"{called(optimizer)} stepped{at(optimizer.stepped_at)} with a gradient"
        f" (max {number(p.grad_max or 0)}){lr}, and wrote nothing to them.",
        f"{LOOK_INSIDE}; if it writes only after some steps of its own, pass a larger steps=.",
    )


def lost_update(p: ParameterRecord, r: StepRecord) -> Because | None:
    """New values were computed by hand from parameter and gradient, and never written."""
    if p.evidence.computed_at is None or stepped(p, r):
        return None
    return Because(
        f"new values were computed from the parameter and its gradient{at(p.evidence.computed_at)}"
        " but never written back: `p = p - lr * grad` makes a new tensor and leaves the model's as it was.",
        "write in place under torch.no_grad(): `p -= lr * p.grad` (or p.copy_(new)).",
    )


def optimizer_not_observed(p: ParameterRecord, r: StepRecord) -> Because | None:
    """The optimizer cannot report (no `super().__init__`, a replaced or mocked `step`) and nothing moved."""
    silent = [r.optimizers[i] for i in p.held_by if not r.optimizers[i].observed]
    if not silent:
        return None
    return Because(
        f"{called(silent[0])} holds them, but whether it stepped cannot be seen: {silent[0].why_unobserved}.",
        "make sure that its real `step` is called in this test (no mock, super().__init__ called).",
    )


def accumulating(p: ParameterRecord, r: StepRecord) -> Because | None:
    """Gradients are being accumulated, and it is known that an optimizer step is due later: run more steps."""
    why = p.evidence.accumulating
    if why is None or stepped(p, r):
        return None
    known = "the optimizer has stepped before" if why == "earlier" else why
    return Because(
        f"gradients of {plural(p.reached, 'backward pass')} were kept and no optimizer step ran yet; {known}.",
        "watch a whole accumulation window: pass steps= with the number of micro-batches.",
    )


def no_step(p: ParameterRecord, r: StepRecord) -> Because | None:
    """No optimizer that holds them stepped (or there is none), and nothing else wrote them."""
    if stepped(p, r):
        return None
    holders = [r.optimizers[index] for index in p.held_by]
    if not holders and r.step_count:
        return None
    reached = f"{plural(r.backward_count, 'backward pass')} ran" if r.backward_count else "no backward pass ran"
    hint = ""
    if p.reached > 1 and p.gradient not in ABSENT:
        hint = f" If gradients are being accumulated over {p.reached} or more calls, pass a larger steps=."
    if holders:
        others = f" ({plural(r.step_count, 'step')} of other optimizers)" if r.step_count else ""
        return Because(
            f"{named(holders)} holds them but its step() was never called{others}; {reached}.",
            f"call optimizer.step() after loss.backward().{hint}",
        )
    return Because(
        f"no optimizer stepped, none is known that holds them, and nothing else wrote them; {reached}.",
        f"build an optimizer over model.parameters() and call its step() after loss.backward().{hint}",
    )


def not_in_optimizer(p: ParameterRecord, r: StepRecord) -> Because | None:
    """An optimizer stepped, and no known optimizer holds them."""
    if p.held_by or not r.step_count:
        return None
    active = [one for one in r.optimizers if one.steps or one.skipped]
    watched = sum(one.watched for one in active)
    return Because(
        f"{named(active)} stepped{at(active[0].stepped_at if active else None)} with {watched} of the watched"
        " parameters and none of these; no other optimizer holds them.",
        "pass them to the optimizer: build it over model.parameters(), or add_param_group for what was added later.",
    )


def stale_optimizer(p: ParameterRecord, r: StepRecord) -> Because | None:
    """Not in the optimizer, which holds orphans: tensors that the model no longer has and no living module owns."""
    if p.held_by or not r.step_count:
        return None
    stale = [one for one in r.optimizers if one.orphans and one.steps]
    if not stale:
        return None
    optimizer = stale[0]
    return Because(
        f"{called(optimizer)} holds {plural(optimizer.orphans, 'tensor')} that the model no longer has,"
        " and none of these.",
        "build the optimizer after the layer is replaced (or the model converted).",
    )


def other_model_trained(p: ParameterRecord, r: StepRecord) -> Because | None:
    """The step trained another copy of the model, which is alive and owns the tensors that were updated."""
    evidence = p.evidence
    if evidence.copy_of is not None:
        owners = [one for one in r.optimizers if one.steps and one.foreign]
        held = f"{called(owners[0])} holds" if owners and not p.held_by else "the step trained"
        return Because(
            f"{held} the parameters of another {evidence.copy_of} with the same names and shapes, not of this model.",
            "build the optimizer, the loss and this check over one and the same model object.",
        )
    if evidence.functional and p.reached == 0:
        return Because(
            "the step differentiated copies of these parameters (torch.func or autograd.grad on other"
            " tensors of the same shapes), and nothing was written back to the model.",
            "copy the new values into the model (model.load_state_dict(params)), or pass params= to judge the copies.",
        )
    return None
