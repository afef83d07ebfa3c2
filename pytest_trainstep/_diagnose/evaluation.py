"""What an evaluation has done to the model, and why two evaluations differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .because import Because, at, number, plural
from .finding import Finding, Reason

_NAMED = 3  # names in a sentence; the table has more
ASPECTS = ("weights", "buffers", "modes", "gradients", "requires_grad", "grad_mode", "optimizer", "random")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing that evaluation left otherwise than it found it."""

    aspect: str
    name: str
    was: str
    now: str
    kind: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Events:
    """What was seen while evaluation ran: where optimizers of the model stepped, backward ran, streams were seeded."""

    optimizer: str | None = None
    stepped_at: str | None = None
    backward_at: str | None = None
    backwards: int = 0
    seeded_at: str | None = None


def cause_of(change: Change, events: Events, *, rounded: bool) -> str:
    """Return the cause that answers for one change."""
    if events.optimizer is not None and change.aspect in ("weights", "gradients", "optimizer"):
        return "trained-in-evaluation"
    if rounded and (change.kind.startswith("rounded") or (change.aspect == "gradients" and not events.backwards)):
        return "weights-rounded"
    by_kind = {
        ("weights", "replaced"): "weights-replaced",
        ("buffers", "statistics"): "statistics-updated",
        ("gradients", "dropped"): "gradients-dropped",
    }
    by_aspect = {
        "weights": "weights-not-put-back",
        "buffers": "buffer-written",
        "modes": "mode-not-restored" if change.now == "eval" else "mode-restored-too-broadly",
        "gradients": "backward-in-evaluation",
        "requires_grad": "requires-grad-changed",
        "grad_mode": "grad-mode-left-off",
        "optimizer": "optimizer-changed",
        "random": "stream-reset",
    }
    return by_kind.get((change.aspect, change.kind)) or by_aspect[change.aspect]


# by cause: the sentence and the fix
_SAID = {
    "trained-in-evaluation": (
        "{optimizer}, which holds parameters of the model, stepped{stepped} during evaluation.",
        "adapt a deep copy with an optimizer of its own, and evaluate that.",
    ),
    "weights-rounded": (
        "their values are the old ones rounded to {dtype}: converted and converted back.",
        "convert a deep copy to {dtype}, or use autocast.",
    ),
    "weights-replaced": (
        "the model now holds other tensors under these names; an optimizer goes on with the old ones.",
        "write into the parameters with copy_ (load_state_dict without assign=True).",
    ),
    "weights-not-put-back": (
        (
            "no optimizer of the model stepped, and something wrote other weights and did not put the old ones back:"
            " probably averaged weights that were swapped in."
        ),
        "put the training weights back in a finally block.",
    ),
    "statistics-updated": (
        "a norm layer was in train mode during evaluation and moved its running statistics with the data.",
        "call model.eval() before the evaluation, and restore each module's mode after it.",
    ),
    "buffer-written": (
        "evaluation wrote {count} of the model's state: {names}.",
        "save what evaluation writes before it, and put it back after it.",
    ),
    "mode-not-restored": (
        "{count} that came in train mode stand in eval mode now.",
        "remember the mode and restore it: was = model.training; ...; model.train(was).",
    ),
    "mode-restored-too-broadly": (
        "{count} that came in eval mode stand in train mode now: {names}.",
        "restore the mode of each module as it was, not with model.train().",
    ),
    "backward-in-evaluation": (
        "gradients of evaluation were left in the parameters ({passes}{backward}).",
        "evaluate under torch.no_grad(), or ask torch.autograd.grad for what is needed.",
    ),
    "gradients-dropped": (
        "gradients that were there have been cleared; in the middle of an accumulation window they are lost.",
        "leave the gradients alone in evaluation.",
    ),
    "requires-grad-changed": (
        "evaluation switched requires_grad of {names}.",
        "use torch.no_grad() in place of requires_grad_(False) and requires_grad_(True).",
    ),
    "grad-mode-left-off": (
        "gradients were {was} before and are {now} now: torch.set_grad_enabled was not undone.",
        "use `with torch.no_grad():`.",
    ),
    "optimizer-changed": (
        "evaluation changed the optimizer: {names}.",
        "step schedulers, and reset or load optimizers, in the training loop.",
    ),
    "stream-reset": (
        (
            "evaluation set the random stream of {names} to a fixed place{seeded}; training goes on from there with the"
            " same numbers after every evaluation."
        ),
        "use a torch.Generator of its own, or restore the stream (torch.random.fork_rng).",
    ),
}


def _say(cause: str, rows: Sequence[Change], events: Events) -> Because:
    """Write the sentence and the fix for one cause."""
    facts = {
        "count": plural(len(rows), "module" if rows[0].aspect == "modes" else "buffer"),
        "names": ", ".join(row.name for row in rows[:_NAMED]) + (", ..." if len(rows) > _NAMED else ""),
        "dtype": next((row.kind.partition(" ")[2] for row in rows if row.kind.startswith("rounded")), ""),
        "was": rows[0].was,
        "now": rows[0].now,
        "optimizer": events.optimizer,
        "stepped": at(events.stepped_at),
        "passes": plural(events.backwards, "backward pass") if events.backwards else "written by hand",
        "backward": at(events.backward_at),
        "seeded": at(events.seeded_at),
    }
    text, fix = _SAID[cause]
    return Because(text.format_map(facts), fix.format_map(facts))


def impurities(changes: Sequence[Change], events: Events, *, msg: str | None) -> Finding:
    """Put the finding together: everything that is not as it was found, by cause."""
    rounded = any(change.kind.startswith("rounded") and change.aspect == "weights" for change in changes)
    grouped: dict[str, list[Change]] = {}
    for change in changes:
        grouped.setdefault(cause_of(change, events, rounded=rounded), []).append(change)
    ordered = sorted(grouped.items(), key=lambda item: -len(item[1]))
    reasons = []
    for cause, rows in ordered:
        because = _say(cause, rows, events)
        names = tuple(row.name for row in rows)
        reasons.append(Reason(cause=cause, because=because.text, fix=because.fix, parameters=names))
    aspects = [aspect for aspect in ASPECTS if any(change.aspect == aspect for change in changes)]
    quoted = ", ".join(f'"{aspect}"' for aspect in aspects)
    return Finding(
        claim=f"evaluation changed {plural(len(changes), 'thing')} ({', '.join(aspects)})",
        causes=tuple(reason.cause for reason in reasons),
        parameters={name: reason.cause for reason in reasons for name in reason.parameters},
        reasons=tuple(reasons),
        columns=("what", "name", "was", "is now"),
        rows=tuple((one.aspect, one.name, one.was, one.now) for _, rows in ordered for one in rows),
        on_purpose=f"pass allowed=[{quoted}]",
        notes=("evaluation was run twice and everything was put back",)
        if "random" in aspects
        else ("everything was put back",),
        msg=msg,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeats:
    """What further evaluations showed about why the first two differ.

    Attributes:
        returns: From the first start, everything put back, the first result came again.
        by_chance: From the first weights and the second random numbers, it did not.
        carried: What the first evaluation left changed.
        dropouts: Layers of dropout that were at work, or where functional dropout was called.
        drawn: Streams of which evaluation drew numbers.
    """

    returns: bool = True
    by_chance: bool = False
    carried: tuple[str, ...] = ()
    dropouts: tuple[str, ...] = ()
    drawn: tuple[str, ...] = ()


def why_not_repeatable(seen: Repeats) -> tuple[str, Because]:
    """Return the cause and the sentence."""
    if not seen.returns:
        return "evaluation-reads-outside", Because(
            "even from the same weights and the same random numbers the result differs: evaluation reads something else"
            " that moves on (an iterator, a generator of its own, a clock, a cache).",
            "let each evaluation start its data, its generators and its caches anew.",
        )
    if seen.by_chance and seen.dropouts:
        return "dropout-in-evaluation", Because(
            f"dropout was at work during evaluation ({', '.join(seen.dropouts[:3])}); with the same random numbers the"
            " results agree.",
            "call model.eval() before, and pass training=self.training to functional dropout.",
        )
    if seen.by_chance:
        return "random-in-evaluation", Because(
            f"evaluation draws random numbers (of {', '.join(seen.drawn) or 'torch'}); with the same numbers the results agree.",
            "draw them from a generator that is seeded for each evaluation.",
        )
    left = f": {', '.join(seen.carried[:3])}" if seen.carried else ""
    return "evaluation-carries-state", Because(
        f"the second evaluation starts from what the first one left in the model{left}; from the same start the results agree.",
        "put back what evaluation changes (statistics, hidden states); assert_evaluation_pure names it.",
    )


def unrepeatable(
    differing: Sequence[tuple[str, str, str, float]], total: int, seen: Repeats, *, msg: str | None
) -> Finding:
    """Put the finding together: the values that came out otherwise, worst first."""
    cause, because = why_not_repeatable(seen)
    ordered = sorted(differing, key=lambda one: -one[3] if one[3] == one[3] else float("-inf"))
    names = tuple(path or "(result)" for path, *_ in ordered)
    return Finding(
        claim=f"{len(differing)} of {plural(total, 'value')} came out otherwise in the second of two evaluations",
        causes=(cause,),
        parameters=dict.fromkeys(names, cause),
        reasons=(Reason(cause=cause, because=because.text, fix=because.fix, parameters=names),),
        columns=("value", "first", "second", "off by", "allowed"),
        rows=tuple(
            (name, first, second, number(off) if off == off else "-", "1.0e-05")  # noqa: PLR0124 - NaN
            for name, (_, first, second, off) in zip(names, ordered, strict=True)
        ),
        on_purpose="leave the value out of what eval_fn returns, or seed what it draws",
        notes=("evaluation was run up to four times and everything was put back",),
        msg=msg,
    )
