"""Which parameters an optimizer holds that it should not, and which it lacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_trainstep._record import ParameterRecord

from .because import Because, number, plural
from .finding import Finding, Reason
from .patterns import compress


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """A tensor that an optimizer holds and the model has not."""

    shape: tuple[int, ...]
    optimizer: str
    owner: str | None = None  # class of a living module that owns it


@dataclass(frozen=True, slots=True, kw_only=True)
class Cover:
    """Who holds what: parameters by how many groups hold them, and what else is held.

    Attributes:
        missing: Trainable parameters in no group.
        twice: Parameters in more than one group, and in which.
        foreign: What the optimizers hold that is no parameter of the model.
        held: How many parameters of the model they hold.
        optimizers: Their names with their birthplaces.
    """

    parameters: Mapping[str, ParameterRecord]
    missing: tuple[str, ...] = ()
    twice: Mapping[str, str] = ()  # type: ignore[assignment]
    foreign: tuple[Foreign, ...] = ()
    held: int = 0
    optimizers: tuple[str, ...] = ()


def reasons(cover: Cover) -> list[Reason]:
    """Return every cause with its sentence."""
    named = " and ".join(dict.fromkeys(cover.optimizers))
    orphans = [one for one in cover.foreign if one.owner is None]
    strangers = [one for one in cover.foreign if one.owner is not None]
    found: list[tuple[str, Because, Sequence[str]]] = []
    if cover.missing and orphans:
        text = f"{named} holds {plural(len(orphans), 'tensor')} that the model no longer has, and none of these."
        because = Because(text, "build the optimizer after the layer is replaced (or the model converted).")
        found.append(("stale-optimizer", because, cover.missing))
    elif cover.missing:
        text = f"{named} holds {plural(cover.held, 'parameter')} of the model and none of these."
        fix = "build it over model.parameters(), or add_param_group for what was added later."
        found.append(("not-in-optimizer", Because(text, fix), cover.missing))
    if cover.twice:
        where = next(iter(cover.twice.values()))
        because = Because(
            f"each is in more than one group ({where}), and is updated once for each.", "leave it in one group."
        )
        found.append(("held-twice", because, tuple(cover.twice)))
    rest = [*strangers, *([] if cover.missing else orphans)]
    if rest:
        owners = ", ".join(dict.fromkeys(one.owner or "nobody alive" for one in rest))
        text = f"{named} also holds {plural(len(rest), 'tensor')} that the model does not have (owned by {owners})."
        fix = "leave out what belongs to other models; judge several together with a mapping of names to modules."
        names = tuple(f"(a tensor of shape {str(one.shape).replace(' ', '')})" for one in rest)
        found.append(("foreign-in-optimizer", Because(text, fix), names))
    return [Reason(cause=c, because=b.text, fix=b.fix, parameters=tuple(names)) for c, b, names in found]


def finding(cover: Cover, *, msg: str | None) -> Finding:
    """Put the finding together."""
    found = reasons(cover)
    parts = [
        f"{plural(len(names), noun)} {what}"
        for names, noun, what in (
            (cover.missing, "trainable parameter", "in no group"),
            (cover.twice, "parameter", "in more than one"),
            (cover.foreign, "tensor", "of somebody else"),
        )
        if names
    ]
    return Finding(
        claim=f"the optimizer does not cover the model: {', '.join(parts)}",
        causes=tuple(reason.cause for reason in found),
        parameters={name: reason.cause for reason in found for name in reason.parameters},
        reasons=tuple(found),
        columns=("parameter", "shape", "numbers", "groups"),
        rows=_rows(cover),
        on_purpose=_on_purpose(cover),
        msg=msg,
    )


def _rows(cover: Cover) -> tuple[tuple[str, ...], ...]:
    def row(name: str, groups: str) -> tuple[str, ...]:
        one = cover.parameters[name]
        return name, str(one.shape).replace(" ", ""), number(one.numel), groups

    rows = [row(name, "none") for name in cover.missing]
    rows += [row(name, groups) for name, groups in cover.twice.items()]
    rows += [
        (one.owner or "(no living module)", str(one.shape).replace(" ", ""), "-", one.optimizer)
        for one in cover.foreign
    ]
    return tuple(rows)


def _on_purpose(cover: Cover) -> str:
    said = []
    if cover.missing:
        said.append(f"frozen={compress(cover.missing, cover.parameters)}")
    if cover.foreign:
        said.append("extra=[the other tensors]")
    if cover.twice and not said:
        return ""
    return f"pass {' and '.join(said)}"
