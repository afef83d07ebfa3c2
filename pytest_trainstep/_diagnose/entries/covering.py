"""What an optimizer holds that it should not, and what it lacks."""

from __future__ import annotations

from pytest_trainstep._diagnose.catalogue import Entry

_COVERS = ("assert_optimizer_covers",)

# causes of other families for which this claim can fail
ALSO = {"not-in-optimizer": _COVERS, "stale-optimizer": _COVERS}

ENTRIES: tuple[Entry, ...] = (
    Entry(
        name="held-twice",
        claims=_COVERS,
        fault="A trainable parameter is in more than one group, of one optimizer or of several, and is updated once for each.",
        example="decoder.weight = encoder.weight  # tied\nfirst = SGD(encoder.parameters())\nsecond = SGD(decoder.parameters())",
        fix="leave it in one group.",
        on_purpose="leave one of the optimizers out of the call.",
    ),
    Entry(
        name="foreign-in-optimizer",
        claims=_COVERS,
        fault="An optimizer holds tensors that the model does not have: those of another model, or of a layer that was"
        " replaced.",
        example="optimizer = Adam([*model.parameters(), *teacher.parameters()])",
        fix="leave out what belongs to other models; judge several together with a mapping of names to modules.",
        on_purpose="pass extra=[the other tensors].",
    ),
)
