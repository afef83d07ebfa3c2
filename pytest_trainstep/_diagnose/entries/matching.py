"""Why an update is not the one it should be."""

from __future__ import annotations

from pytest_trainstep._diagnose.catalogue import Entry

_MATCHES, _WINDOW = "assert_update_matches", "assert_accumulation_matches"
_BOTH = (_MATCHES, _WINDOW)

# causes of other families for which these claims can fail
ALSO = {
    "non-finite": _BOTH,
    "step-skipped": _BOTH,
    "gradients-not-cleared": _BOTH,
    "scheduler-before-optimizer": (_MATCHES,),
    "clip-after-step": (_MATCHES,),
    "unexplained": _BOTH,
}


def _cause(name: str, claims: tuple[str, ...], fault: str, example: str, fix: str) -> Entry:
    purpose = "write it into the reference, or pass a larger rtol=."
    if claims == (_WINDOW,):
        purpose = "let full_loss= compute what the window is meant to, or pass a larger rtol=."
    return Entry(name=name, claims=claims, fault=fault, example=example, fix=fix, on_purpose=purpose)


ENTRIES: tuple[Entry, ...] = (
    _cause(
        "update-missing",
        (_MATCHES,),
        "The reference moves them and the step does not.",
        "optimizer = torch.optim.SGD(model.encoder.parameters(), lr=0.1)  # the reference trains the head too",
        "make the step train them; assert_weights_update says why it does not.",
    ),
    _cause(
        "stepped-twice",
        _BOTH,
        "An optimizer stepped more often for them than the reference, or than once for each window. A parameter that two"
        " optimizers hold is stepped twice too.",
        "scaler.step(optimizer)\noptimizer.step()  # once more",
        "step once for each batch, and leave a shared parameter to one optimizer.",
    ),
    _cause(
        "opposite-sign",
        (_MATCHES,),
        "The step goes the opposite way: a sign is missing, or `maximize` is left over.",
        "loss = (log_prob * advantage).mean()  # the minus is missing",
        "turn the sign of the loss, or drop maximize=True: an optimizer minimises.",
    ),
    _cause(
        "loss-scale-wrong",
        (_MATCHES,),
        "The update is a large power of two times the reference's. Probably the loss scale is divided out twice, or never,"
        " or gradients were clipped while they were still multiplied by it.",
        "scaler.scale(loss).backward()\nclip_grad_norm_(model.parameters(), 1.0)  # scaler.unscale_(optimizer) is missing\nscaler.step(optimizer)",
        "call scaler.unscale_(optimizer) once, before clipping, and leave the rest to scaler.step(optimizer).",
    ),
    _cause(
        "update-scaled",
        _BOTH,
        "The direction is right and the length is off by one constant factor: another learning rate, a sum in place of a"
        " mean, a division too many, clipping.",
        "loss = criterion(model(x), y).sum()  # the reference takes the mean",
        "compare lr, momentum, the reduction of the loss, and clipping.",
    ),
    _cause(
        "scaled-per-tensor",
        (_MATCHES,),
        "Every parameter's direction is right and its length is off by a factor of its own. Probably each tensor was"
        " clipped by itself, or groups have other learning rates.",
        "for p in model.parameters():\n    clip_grad_norm_(p, 1.0)  # one limit for each tensor",
        "clip all parameters in one call, and compare the learning rates of the groups.",
    ),
    _cause(
        "decay-differs",
        (_MATCHES,),
        "What differs is a multiple of the weights: weight decay is applied twice, not at all, or where none should be"
        " (biases, gains of norm layers).",
        'skip = ("bias", "LayerNorm.weight")  # but this model calls its norms ln_1, ln_f',
        "decay in one place only, and in the parameters that the reference decays.",
    ),
    _cause(
        "gradients-added-up",
        (_MATCHES,),
        "The gradient that the step used holds several backward passes of the call, and the reference's holds fewer."
        " Probably gradients were not cleared between them.",
        "loss_of(model).backward()\nmove_to_worst_point(model)\nloss_of(model).backward()  # adds to the first gradient\nrestore(model)\noptimizer.step()",
        "call zero_grad() before the backward pass that the step is meant to use.",
    ),
    _cause(
        "optimizer-state-differs",
        (_MATCHES,),
        "One optimizer carries a state of earlier steps (momentum, moments) and the other is new: built anew in every"
        " call, or compared in mid-training with a fresh reference.",
        "def step():\n    optimizer = torch.optim.Adam(model.parameters())  # anew in every step\n    ...",
        "build the optimizer once, outside the step; compare from a fresh one, or load its state into the reference's.",
    ),
    _cause(
        "random-streams-differ",
        (_MATCHES,),
        "The step and the reference start from the same random numbers and do not draw the same. Probably dropout, noise"
        " or sampling makes the difference.",
        "x = x + 0.1 * torch.randn_like(x)  # only in the step",
        "let both draw the same numbers in the same order, or switch the noise off for this test.",
    ),
    _cause(
        "direction-differs",
        (_MATCHES,),
        "The update points elsewhere. Probably another loss or gradient reaches these parameters, or the optimizer"
        " computes otherwise.",
        "return ctx.factor * grad, None  # a gradient reversal without its minus",
        "compare the two gradients of these parameters, then the optimizers' arguments.",
    ),
    _cause(
        "window-not-finished",
        (_WINDOW,),
        "No optimizer step was made in the call: it is only a part of a window.",
        "def step():  # one of four micro-batches\n    (loss_of(next(micro)) / 4).backward()",
        "let one call of step_fn run a whole window, micro-batches and optimizer step.",
    ),
    _cause(
        "stepped-inside-window",
        (_WINDOW,),
        "The optimizer stepped before all micro-batches had been through backward.",
        "for i, part in enumerate(micro):\n    (loss_of(part) / 4).backward()\n    if i % 4 == 0:  # true for the first one\n        optimizer.step()",
        "step when (i + 1) % accumulate == 0, counting i from 0, and at the end of the window.",
    ),
    _cause(
        "cleared-inside-window",
        (_WINDOW,),
        "The gradients were cleared between the micro-batches of a window.",
        "for part in micro:\n    optimizer.zero_grad()  # belongs before the loop\n    (loss_of(part) / 4).backward()\noptimizer.step()",
        "clear them once for each window.",
    ),
    _cause(
        "clipped-inside-window",
        (_WINDOW,),
        "The accumulated gradients were clipped, unscaled or divided between the micro-batches of a window.",
        "for part in micro:\n    (loss_of(part) / 4).backward()\n    clip_grad_norm_(model.parameters(), 1.0)  # belongs after the loop",
        "clip once, after the last backward of the window and before the step.",
    ),
    _cause(
        "not-divided",
        (_WINDOW,),
        "Means of micro-batches were added and never divided by their number.",
        "for part in micro:\n    loss_of(part).backward()  # not divided by len(micro)",
        "divide each micro-batch's loss by the number of micro-batches, or weight it by its share of the samples.",
    ),
    _cause(
        "divided-twice",
        (_WINDOW,),
        "The loss was divided by the number of micro-batches more than once.",
        "loss = compute_loss(part) / 4\ntrainer.backward(loss)  # divides by 4 once more",
        "divide in one place: the trainer, the loss function or the loop.",
    ),
    _cause(
        "micro-batches-misweighted",
        (_WINDOW,),
        "The micro-batches' gradients add up to the whole batch's only with unequal weights. Probably each loss was"
        " averaged over its own samples or tokens, or divided by another number each.",
        "for part in micro:  # with 9, 5 and 2 tokens\n    (mean_over_tokens(part) / len(micro)).backward()",
        "sum the losses and divide once by the samples (tokens, weights) of the whole window.",
    ),
    _cause(
        "clipping-differs",
        (_WINDOW,),
        "The micro-batches add up to the whole batch's gradient, and it is clipped otherwise than with max_norm=.",
        "assert_accumulation_matches(model, step, full_loss=full, optimizer=optimizer)  # step clips to 1.0",
        "clip to the same norm in both: pass max_norm=, and clip once before the step.",
    ),
    _cause(
        "loss-not-additive",
        (_WINDOW,),
        "No weighting of the micro-batches' gradients makes up the whole batch's. Probably a part of the loss does not"
        " split over samples (a penalty added with every micro-batch, in-batch negatives, batch statistics), or samples"
        " are missing or counted twice.",
        "for part in micro:\n    (loss_of(part) / 4 + penalty(model)).backward()  # four times the penalty",
        "add penalties once for each window; compute what compares samples over all of them.",
    ),
)
