"""Why gradients are not fresh, what was not finite, and what came in the wrong order."""

from __future__ import annotations

from pytest_trainstep._diagnose.catalogue import Entry

_FRESH = ("assert_gradients_fresh",)
_FINITE = ("assert_step_finite",)
_SOUND = ("assert_step_sound",)
_KEPT = "pass kept=[patterns] for the parameters whose gradients are kept on purpose."
_XFAIL = "no argument excuses it; mark the test xfail(raises=StepNotFinite) while it is known."


def _skip(check: str) -> str:
    return f'pass skip={{"{check}": "the reason"}}.'


ENTRIES: tuple[Entry, ...] = (
    Entry(
        name="gradients-not-cleared",
        claims=_FRESH,
        fault="An optimizer step used gradients of which an earlier step had used a part: nothing cleared them in between.",
        example="loss = criterion(model(x), y)\nloss.backward()   # adds to what is there\noptimizer.step()  # zero_grad() is missing",
        fix="call zero_grad() before each backward pass or after each step, for every optimizer and every parameter.",
        on_purpose=_KEPT,
    ),
    Entry(
        name="gradient-reused",
        claims=_FRESH,
        fault="An optimizer step used gradients that a step had used already, with no backward pass in between. Two"
        " optimizers that hold the same parameter do this too.",
        example="loss.backward()\nscaler.step(optimizer)\noptimizer.step()  # once more, with the same gradients",
        fix="step once for each backward pass; give each parameter to one optimizer only.",
        on_purpose=_KEPT,
    ),
    Entry(
        name="foreign-gradients",
        claims=_FRESH,
        fault="A step used gradients that another backward pass had left behind: that of another optimizer's loss, which"
        " went through these parameters too, or one in validation, after the step.",
        example="generator_loss.backward()      # fills the discriminator as well\nopt_g.step()\n"
        "discriminator_loss.backward()  # adds to it\nopt_d.step()",
        fix="clear the gradients of an optimizer right before its own backward pass; use torch.autograd.grad elsewhere.",
        on_purpose=_KEPT,
    ),
    Entry(
        name="window-leaked",
        claims=_FRESH,
        fault="An accumulation window was longer than the others, because a call had left gradients over: at the end of"
        " an epoch, or when a batch was left out.",
        example="for i, batch in enumerate(loader):  # five batches\n    loss_of(batch).backward()\n    if (i + 1) % 2 == 0:\n"
        "        optimizer.step()\n        optimizer.zero_grad()  # the fifth gradient stays",
        fix="step or clear at the end of an epoch, and clear before leaving a batch out.",
        on_purpose="pass varying_windows=True.",
    ),
    Entry(
        name="closure-without-clear",
        claims=_FRESH,
        fault="The optimizer evaluated its closure several times in one step, and the gradients of all of them were added up.",
        example="def closure():\n    loss = criterion(model(x), y)  # optimizer.zero_grad() is missing\n    loss.backward()\n"
        "    return loss\n\nlbfgs.step(closure)",
        fix="make zero_grad() the first line of the closure.",
        on_purpose=_KEPT,
    ),
    Entry(
        name="loss-not-finite",
        claims=_FINITE,
        fault="The loss is NaN or infinite. The message names the operation that made it from finite numbers.",
        example="loss = -(y * torch.log(p)).mean()  # p is exactly 0",
        fix="guard the operation: clamp, an epsilon inside it, logits in place of probabilities, a larger dtype.",
        on_purpose=_XFAIL,
    ),
    Entry(
        name="gradient-not-finite",
        claims=_FINITE,
        fault="The loss is finite and its gradient is not: an operation was used where its slope is infinite, perhaps in"
        " the branch of a torch.where that is not taken.",
        example="loss = (a - b).pow(2).sum().sqrt()  # the slope of sqrt at 0 is infinite",
        fix="keep the operation away from there: clamp its input, or add an epsilon inside.",
        on_purpose="pass gradients=False if the program deals with such gradients itself.",
    ),
    Entry(
        name="weights-not-finite",
        claims=_FINITE,
        fault="Loss and gradients are finite, and the update made the weights NaN or infinite.",
        example="optimizer = torch.optim.SGD(model.parameters(), lr=1e38)",
        fix="lower the learning rate; look for a division by zero in the optimizer or in what writes the weights.",
        on_purpose=_XFAIL,
    ),
    Entry(
        name="diverged",
        claims=_FINITE,
        fault="The loss grew from step to step until it broke: each update overshoots.",
        example="optimizer = torch.optim.SGD(model.parameters(), lr=0.1)  # features in the hundreds",
        fix="lower the learning rate, scale the inputs, or clip the gradients.",
        on_purpose=_XFAIL,
    ),
    Entry(
        name="clip-before-unscale",
        claims=_SOUND,
        fault="Gradients were clipped while they were still multiplied by the loss scale, and divided by it afterwards:"
        " the update is far too small.",
        example="scaler.scale(loss).backward()\nclip_grad_norm_(model.parameters(), 1.0)\nscaler.step(optimizer)",
        fix="call scaler.unscale_(optimizer) before the clip.",
        on_purpose=_skip("clipping-order"),
    ),
    Entry(
        name="clip-after-step",
        claims=_SOUND,
        fault="Gradients were clipped after the optimizer had used them as they were, and nothing used them afterwards.",
        example="loss.backward()\noptimizer.step()\nclip_grad_norm_(model.parameters(), 1.0)",
        fix="clip between backward() and step().",
        on_purpose=_skip("clipping-order"),
    ),
    Entry(
        name="clip-before-backward",
        claims=_SOUND,
        fault="The clip ran before the backward pass and found no gradients; those that came were used as they were.",
        example="optimizer.zero_grad()\nclip_grad_norm_(model.parameters(), 1.0)\nloss.backward()\noptimizer.step()",
        fix="clip between backward() and step().",
        on_purpose=_skip("clipping-order"),
    ),
    Entry(
        name="unscaled-twice",
        claims=_SOUND,
        fault="The program had divided the gradients by the loss scale when the gradient scaler did so too.",
        example="for p in model.parameters():\n    p.grad.div_(scaler.get_scale())\nscaler.step(optimizer)",
        fix="use scaler.unscale_(optimizer): step() remembers that it was called.",
        on_purpose=_skip("clipping-order"),
    ),
    Entry(
        name="scheduler-before-optimizer",
        claims=_SOUND,
        fault="The scheduler stepped before the first step of its optimizer: the first learning rate was never used, and"
        " every step runs with that of the next one.",
        example="loss.backward()\nscheduler.step()\noptimizer.step()",
        fix="call scheduler.step() after optimizer.step().",
        on_purpose=_skip("scheduler-order"),
    ),
    Entry(
        name="update-uphill",
        claims=_SOUND,
        fault="The first update of an optimizer goes along its gradient instead of against it, without maximize and"
        " without a closure.",
        example="for p in group['params']:\n    p.add_(p.grad, alpha=group['lr'])  # alpha=-lr is meant",
        fix="check the sign in the optimizer's step, or set maximize=True where a reward is maximised.",
        on_purpose=_skip("update-downhill"),
    ),
)
