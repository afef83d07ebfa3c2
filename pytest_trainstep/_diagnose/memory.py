"""Why graphs of earlier steps are still alive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .because import Because, plural
from .finding import Finding, Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """What one named place keeps alive.

    Attributes:
        name: The place, in words; None where the references lead nowhere.
        container: The kind of container the tensors lie in, if they do.
        tensors: How many tensors with a history it holds.
        single: They are single numbers.
        gradient: They are the gradients of parameters.
        calls: The calls of the step whose graphs they keep.
        nodes: How many nodes these graphs have.
        reach: The calls that one of them alone keeps, the most of any.
    """

    name: str | None
    container: str | None = None
    tensors: int = 1
    single: bool = False
    gradient: bool = False
    calls: tuple[int, ...] = ()
    nodes: int = 0
    reach: int = 1


def gradient_keeps_graph(holding: Holding) -> Because | None:
    """The gradients themselves have a graph: backward ran with create_graph=True, and they are never set to None."""
    if not holding.gradient:
        return None
    return Because(
        f"{holding.name or 'the gradient of a parameter'} has a graph of its own, which reaches"
        f" {plural(len(holding.calls), 'call')} back: backward ran with create_graph=True, and what it left was"
        " added to.",
        "set the gradients to None after each step (zero_grad(set_to_none=True)), or use torch.autograd.grad.",
    )


def graph_chained(holding: Holding) -> Because | None:
    """A tensor is computed anew from its own last value in each step, and its history reaches through all of them."""
    if 2 * holding.reach <= len(holding.calls) or holding.name is None:
        return None
    what = "a running sum, average or best value" if holding.single else "a state that is carried on"
    remedy = "use loss.item() (or .detach()) for it" if holding.single else "detach it between steps: h = h.detach()"
    return Because(
        f"{holding.name} is computed from its own last value in each step ({what}), so its history holds the graphs"
        f" of {plural(len(holding.calls), 'call')}.",
        f"{remedy}.",
    )


def graph_collected(holding: Holding) -> Because | None:
    """Tensors are collected with their graphs: losses, predictions or activations in a list, deque or dict."""
    if holding.name is None:
        return None
    where = f"a {holding.container}" if holding.container else "it"
    return Because(
        f"{holding.name} collects tensors ({holding.tensors} in {where}), each with the graph it came from.",
        "collect numbers (loss.item()) or detached tensors (x.detach()), or clear it after each step.",
    )


RULES = (gradient_keeps_graph, graph_chained, graph_collected)


def explain(holding: Holding) -> Reason:
    """Return the first cause that answers for a holding."""
    for rule in RULES:
        because = rule(holding)
        if because is not None:
            return Reason(cause=rule.__name__.replace("_", "-"), because=because.text, fix=because.fix)
    return Reason(
        cause="unexplained",
        because=f"the graphs of {plural(len(holding.calls), 'call')} are alive, and no reference to them leads to"
        " anything with a name (C++ code, or a suspended generator, may hold them).",
        fix="look for tensors that outlive the step; detach what is kept.",
    )


def finding(
    counts: Mapping[int, int], alive: int, holdings: Sequence[Holding], notes: Sequence[str], msg: str | None
) -> Finding:
    """Put the finding together: how many nodes were alive after which calls, and who holds them."""
    reasons: dict[str, Reason] = {}
    for holding in holdings or [Holding(name=None, calls=tuple(range(alive)))]:
        reason = explain(holding)
        reasons.setdefault(reason.cause, reason)
    if len(reasons) > 1:
        reasons.pop("unexplained", None)
    series = ", ".join(f"{count} after step {call}" for call, count in counts.items())
    return Finding(
        claim=f"the graphs of {alive} of {max(counts)} steps are still alive (graph nodes: {series})",
        causes=tuple(reasons),
        reasons=tuple(reasons.values()),
        columns=("held by", "tensors", "graphs of steps", "nodes"),
        rows=tuple((one.name or "?", str(one.tensors), _span(one.calls), str(one.nodes)) for one in holdings),
        on_purpose="pass a larger steps= if they are let go later, at the end of a window or an episode",
        notes=tuple(notes),
        msg=msg,
    )


def _span(calls: Sequence[int]) -> str:
    if len(calls) > 2 and calls[-1] - calls[0] == len(calls) - 1:  # noqa: PLR2004
        return f"{calls[0]} to {calls[-1]}"
    return ", ".join(map(str, calls[:5])) + (", ..." if len(calls) > 5 else "")  # noqa: PLR2004
