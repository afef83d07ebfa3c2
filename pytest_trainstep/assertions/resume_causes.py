"""What was lost between saving and loading: names for the parts that mend a resumed run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_trainstep._diagnose.because import Because

if TYPE_CHECKING:
    from pytest_trainstep._watch.components import Part

    from .resuming import Resumed, Saved

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
    "mode": (
        "mode-lost",
        "which parameters are trainable, or which modules are in eval mode,",
        "derive it from the number of the step, or save it and set it after loading",
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


_MOMENTS = ("weights", "buffers", "optimizer", "stateful")  # what a checkpoint may hold by reference


def name(guilty: Sequence[Part], saved: Saved, resumed: Resumed) -> list[tuple[str, Because]]:
    """Return one cause for each part whose return mends the run."""
    special = _special(guilty, saved, resumed)
    if special is not None:
        return [special]
    inputs_differ = resumed.inputs != saved.inputs
    if not guilty:
        return [_nothing_mends(inputs_differ=inputs_differ)]
    whole = {part.path for part in guilty if part.kind == "weights"}
    found: dict[str, Because] = {}
    for part in guilty:
        if part.path.removesuffix(" buffers") in whole - {part.path}:
            continue  # lost together with the weights of the same module
        cause, because = _one(part, inputs_differ=inputs_differ)
        found.setdefault(cause, because)
    return list(found.items())


def _special(guilty: Sequence[Part], saved: Saved, resumed: Resumed) -> tuple[str, Because] | None:
    if _differ("ties", saved, resumed):
        return "tie-broken", Because(
            "names that stood for one tensor stand for separate ones after loading.",
            "tie the weights again after loading (and build the optimizer after that).",
        )
    aliased = [part.path for part in guilty if _has_gone_on(part, saved, resumed)]
    if aliased:
        return "snapshot-aliased", Because(
            f"the checkpoint holds the living tensors of `{aliased[0]}`: it went on changing while training went on.",
            "copy.deepcopy(trainer.state_dict()), or write it to disk at once.",
        )
    weights = next((part for part in guilty if part.kind == "weights"), None)
    return _order(saved, resumed) if weights is None else _other_weights(weights, saved, resumed)


def _has_gone_on(part: Part, saved: Saved, resumed: Resumed) -> bool:
    """Tell whether what was loaded is what the first trainer held at its end, not at the checkpoint."""
    from pytest_trainstep._watch import components

    pair = resumed.parts.get(part.path), saved.later.get(part.path)
    return part.kind in _MOMENTS and None not in pair and components.same(*(one.state for one in pair if one))


def _differ(kind: str, saved: Saved, resumed: Resumed) -> tuple[Part, Part] | None:
    """Return the first part of a kind that the new trainer has otherwise, before and now."""
    for path, part in saved.parts.items():
        now = resumed.parts.get(path)
        if part.kind == kind and now is not None and part.state != now.state:
            return part, now
    return None


def _order(saved: Saved, resumed: Resumed) -> tuple[str, Because] | None:
    """The same optimizer states, but given to other parameters, or to an optimizer that holds others."""
    found = _differ("order", saved, resumed)
    if found is None:
        return None
    before, now = (part.state for part in found)
    if sorted(before) != sorted(now):
        optimizer = found[0].path.removesuffix(" order")
        missing = [one for one in before if one not in now]
        what = f"not {missing[0]}, for one" if missing else "others besides"
        return "optimizer-state-lost", Because(
            f"`{optimizer}` held {len(before)} parameters when it was saved and holds {len(now)} after loading ({what}):"
            " its state cannot be loaded into it.",
            "give the new optimizer the same groups (thaw and add what was added during training) before loading.",
        )
    return "parameter-order-changed", Because(
        "the optimizer of the new trainer lists its parameters in another order, so each gets another's state.",
        "build the parameter list in a fixed order (no sets, no unsorted dictionaries).",
    )


def _other_weights(weights: Part, saved: Saved, resumed: Resumed) -> tuple[str, Because] | None:
    """What was loaded is somebody else's: an average's, a teacher's."""
    from pytest_trainstep._watch import components
    from pytest_trainstep._watch.trials import mark

    now = resumed.parts.get(weights.path)
    if now is None or not now.state:
        return None
    loaded = {mark(tensor) for tensor in now.state.values()}
    if loaded <= set(resumed.built.values()):
        return None  # nothing was loaded
    for path, part in saved.parts.items():
        others = {mark(tensor) for tensor in components.tensors_in(part.state)}
        if path != weights.path and part.kind in _SETS_OF_WEIGHTS and loaded <= others:
            return "averaged-weights-loaded", Because(
                f"the loaded `{weights.path}` holds the weights of `{path}`.",
                "save both sets of weights under their own keys, and load each into its own module.",
            )
    return None


_SETS_OF_WEIGHTS = ("weights", "container", "stateful")


def _one(part: Part, *, inputs_differ: bool) -> tuple[str, Because]:
    cause, what, how = _LOST[part.kind]
    if part.kind in ("number", "container", "tensor", "stateful") and inputs_differ:
        cause, what = "data-position-lost", "what decides the next batch"
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
