"""What was lost between saving and loading: names for the parts that mend a resumed run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pytest_trainstep._diagnose.because import Because

if TYPE_CHECKING:
    from pytest_trainstep._watch.components import Part

    from .resuming import Saved

NOT_REPRODUCIBLE = (
    "not-reproducible",
    Because(
        "two runs from the same random state already differ before the checkpoint, so nothing can be said about resuming.",
        "make the training reproducible first: assert_runs_reproduce names what it depends on.",
    ),
)
SAVING_DISTURBS = (
    "saving-disturbs-run",
    Because(
        "the run that called state_dict() goes on differently from one that never did: saving changed something.",
        "let state_dict() only read: no train()/eval(), no swapped averages left in place, no random numbers.",
    ),
)
_LOST = {
    "optimizer": (
        "optimizer-state-lost",
        "the optimizer's state (moments, step counts, lr)",
        "save and load optimizer.state_dict()",
    ),
    "scheduler": (
        "scheduler-state-lost",
        "the scheduler's state",
        "save and load scheduler.state_dict(), after the optimizer's",
    ),
    "scaler": ("scaler-state-lost", "the gradient scaler's state", "save and load scaler.state_dict()"),
    "generator": (
        "random-state-lost",
        "the position of a random generator",
        "save generator.get_state() and set it after loading",
    ),
    "streams": (
        "random-state-lost",
        "the state of the global random streams",
        "save and restore torch.get_rng_state() (and numpy's, Python's), or derive randomness from the step number",
    ),
    "gradients": (
        "gradients-lost",
        "the gradients accumulated so far",
        "save only between accumulation windows, or save the gradients too",
    ),
    "buffers": (
        "buffer-not-saved",
        "buffers (running statistics)",
        "save model.state_dict(), not parameters alone; register_buffer(persistent=True)",
    ),
    "weights": ("weights-lost", "weights", "save and load the state_dict of every module that is trained or averaged"),
    "number": ("counter-lost", "a counter or setting", "put it into state_dict() and read it back"),
    "container": ("counter-lost", "a list or dict of numbers", "put it into state_dict() and read it back"),
    "tensor": ("tensor-lost", "a tensor kept outside the model", "put it into state_dict() and read it back"),
    "stateful": (
        "component-state-lost",
        "the state of a component with its own state_dict()",
        "save and load its state_dict() too",
    ),
}


def name(
    guilty: Sequence[Part], saved: Saved, loaded: Mapping[str, Part], *, inputs_differ: bool
) -> list[tuple[str, Because]]:
    """Return one cause for each part whose return mends the run."""
    special = _special(guilty, saved, loaded)
    if special is not None:
        return [special]
    if not guilty:
        return [_nothing_mends(inputs_differ=inputs_differ)]
    found: dict[str, Because] = {}
    for part in guilty:
        cause, because = _one(part, inputs_differ=inputs_differ)
        found.setdefault(cause, because)
    return list(found.items())


def _special(guilty: Sequence[Part], saved: Saved, loaded: Mapping[str, Part]) -> tuple[str, Because] | None:
    for path, part in saved.parts.items():
        if part.kind == "ties" and path in loaded and part.state != loaded[path].state:
            return "tie-broken", Because(
                "names that stood for one tensor stand for separate ones after loading.",
                "tie the weights again after loading (and build the optimizer after that).",
            )
    weights = next((part for part in guilty if part.kind == "weights"), None)
    if weights is None:
        return _order(saved, loaded)
    return _other_weights(weights, saved, loaded)


def _order(saved: Saved, loaded: Mapping[str, Part]) -> tuple[str, Because] | None:
    """The same optimizer states, but given to other parameters."""
    for path, part in saved.parts.items():
        if part.kind == "order" and path in loaded and part.state != loaded[path].state:
            return "parameter-order-changed", Because(
                "the optimizer of the new trainer lists its parameters in another order, so each gets another's state.",
                "build the parameter list in a fixed order (no sets, no unsorted dictionaries).",
            )
    return None


def _other_weights(weights: Part, saved: Saved, loaded: Mapping[str, Part]) -> tuple[str, Because] | None:
    from pytest_trainstep._watch import components

    now = loaded.get(weights.path)
    if now is None:
        return None
    for path, part in saved.parts.items():
        if part.kind == "weights" and path != weights.path and components.same(part.state, now.state):
            return "averaged-weights-loaded", Because(
                f"the loaded `{weights.path}` holds the weights of `{path}`.",
                "save both sets of weights under their own keys, and load each into its own module.",
            )
    from pytest_trainstep._watch.trials import marks

    later = {key: mark for key, mark in saved.later_weights.items() if key in now.state}
    if later and marks(now.state) == later:
        return "snapshot-aliased", Because(
            "the checkpoint holds the living tensors: it went on changing while training went on.",
            "copy.deepcopy(model.state_dict()), or write it to disk at once.",
        )
    return None


def _one(part: Part, *, inputs_differ: bool) -> tuple[str, Because]:
    cause, what, how = _LOST[part.kind]
    if part.kind in ("number", "container", "tensor", "stateful", "generator") and inputs_differ:
        cause, what = "data-position-lost", "the position in the data"
    if part.kind == "weights" and part.path != "model":
        cause, what = "averaged-weights-lost", "the weights of another module (an average, a teacher)"
    return cause, Because(
        f"{what} (`{part.path}`) did not survive: with only that given back, the resumed run agrees.", f"{how}."
    )


def _nothing_mends(*, inputs_differ: bool) -> tuple[str, Because]:
    if inputs_differ:
        return "data-position-lost", Because(
            "the first batch after loading is not the one that was due: probably an iterator or a sampler starts again.",
            "save how far the epoch has come (and the order of the data), and skip to it after loading.",
        )
    return "unexplained", Because(
        "no part of the trainer that could be compared explains it.",
        "look for state outside the trainer's attributes: globals, closures, iterators, files.",
    )
