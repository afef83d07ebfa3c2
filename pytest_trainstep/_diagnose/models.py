"""Causes that lie with the model: frozen, unregistered, put back."""

from __future__ import annotations

from pytest_trainstep._record import ParameterRecord, StepRecord

from .because import Because, mostly, named, plural

_CONTAINERS = {
    "list": "a Python list (use nn.ModuleList or nn.ParameterList)",
    "tuple": "a tuple (use nn.ModuleList or nn.ParameterList)",
    "dict": "a dict (use nn.ModuleDict or nn.ParameterDict)",
    "buffer": "a buffer, which optimizers over parameters() do not get (use nn.Parameter)",
    "closure": "the closure of a function (make it an attribute of the module)",
    "object": "a plain object (derive its class from nn.Module)",
}


def not_registered(p: ParameterRecord, r: StepRecord) -> Because | None:
    """The model uses tensors of its own that `parameters()` does not list."""
    if p.registered:
        return None
    if p.evidence.cast:
        return Because(
            "the model keeps the result of a cast (.to(), .cuda(), .float()) of a parameter: nn.Module registers"
            " only nn.Parameter objects, and the original is lost.",
            "assign nn.Parameter(tensor.to(...)) itself: cast first, then wrap.",
        )
    where = _CONTAINERS.get(p.evidence.hidden_in or "", "an attribute that nn.Module does not register")
    return Because(
        f"backward reached them, but model.parameters() does not list them and nothing updates them: they are kept in {where}.",
        "register them, so that parameters(), state_dict() and .to() see them.",
    )


def requires_grad_false(p: ParameterRecord, r: StepRecord) -> Because | None:
    """Frozen, although the claim covers them (or: nothing at all is trainable)."""
    if mostly(p, "frozen"):
        return Because(
            "requires_grad was switched off before the optimizer step (it was True when watching began).",
            "switch requires_grad on again before their own forward and backward pass.",
        )
    if p.trainable:
        return None
    holders = [r.optimizers[index] for index in p.held_by]
    held = f" although {named(holders)} holds them" if holders else ""
    return Because(
        f"requires_grad is False{held}.",
        "call requires_grad_(True) on them before the step (from_pretrained and .eval()-style helpers may freeze).",
    )


def weights_restored(p: ParameterRecord, r: StepRecord) -> Because | None:
    """They changed and were put back within one call of the step."""
    if not p.restored:
        return None
    return Because(
        f"optimizer steps ({r.step_count}) moved them, and by the end of the call they were bit for bit what they had been.",
        "look for what writes old weights back: an averaged copy swapped in and not out, load_state_dict, a best-checkpoint reload.",
    )


def update_too_small(p: ParameterRecord, r: StepRecord) -> Because | None:
    """They moved, but less than `min_update` asks."""
    if not p.moved:
        return None
    return Because(
        f"they moved, by less than the asked-for update ratio, over {plural(r.calls, 'call')} of the step.",
        "raise the learning rate, or lower min_update.",
    )
