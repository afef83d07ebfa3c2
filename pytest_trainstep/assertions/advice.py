"""Notes for torch's own errors: what to do about them, added to the user's exception and nothing else."""

from __future__ import annotations

_ADVICE = (
    (
        "grad can be implicitly created only for scalar outputs",
        "trainstep: the loss is not a scalar; reduce it first: loss.mean().backward() (or reduction='mean').",
    ),
    (
        "does not require grad and does not have a grad_fn",
        (
            "trainstep: the loss has no graph: something between the parameters and the loss detached it (detach(),"
            " .item(), numpy, no_grad), or no parameter requires grad."
        ),
    ),
    (
        "No inf checks were recorded",
        "trainstep: GradScaler found no gradient at all: call scaler.scale(loss).backward() before scaler.step(optimizer).",
    ),
    (
        "but _scale is None",
        (
            "trainstep: the loss was never scaled: call scaler.scale(loss).backward() before scaler.step(optimizer)"
            " (and before scaler.unscale_)."
        ),
    ),
    (
        "_scale is None in unscale_",
        "trainstep: the loss was never scaled: call scaler.scale(loss).backward() before scaler.unscale_(optimizer).",
    ),
    (
        "missing 1 required positional argument: 'closure'",
        (
            "trainstep: this optimizer evaluates the loss itself: pass optimizer.step(closure), where closure clears the"
            " gradients, computes the loss, calls backward and returns it."
        ),
    ),
    (
        "step() has already been called since the last update()",
        "trainstep: call scaler.update() once after each scaler.step(optimizer).",
    ),
    (
        "Trying to backward through the graph a second time",
        "trainstep: a graph of an earlier step is still in the loss: detach the hidden state or the running loss.",
    ),
)


def add_note(error: BaseException) -> None:
    """Add a note to an error of torch that has a known remedy; leave every other one as it is."""
    text = str(error)
    for part, note in _ADVICE:
        if part in text and note not in getattr(error, "__notes__", ()):
            error.add_note(note)
