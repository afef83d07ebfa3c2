"""What the audit finds in a test: which optimizer never updated anything, and why; and what else looks wrong.

The same causes as for the claims, from less evidence: an audit knows optimizers and no model.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from pytest_trainstep._heard import Group, Heard, Subject

from .because import Because, at, number, plural, times
from .finding import Finding, Reason

ON_PURPOSE = 'mark the test: @pytest.mark.trainstep(audit="off", reason="...")'
COLUMNS = ("group", "tensors", "lr", "|grad|", "gradients")
_ORDER = "put the calls in this order: zero_grad(), forward, backward(), step()."


class Verdict(NamedTuple):
    """A finding, where it lies, and whether the mode `fail` fails a test for it."""

    finding: Finding
    at: str
    fails: bool
    optimizer: int  # index in `Subject.optimizers`

    @property
    def cause(self) -> str:
        """Return the first cause."""
        return self.finding.causes[0]


def verdicts(subject: Subject) -> list[Verdict]:
    """Judge everything that was heard in one test, worst first."""
    found = [verdict for index, heard in enumerate(subject.optimizers) for verdict in _judge(subject, heard, index)]
    return sorted(found, key=lambda one: not one.fails)


def _judge(subject: Subject, heard: Heard, index: int) -> list[Verdict]:
    if heard.clockwork:
        return []
    where = heard.stepped_at or heard.built_at or subject.at
    found: list[Verdict] = []

    def add(finding: Finding, *, fails: bool) -> None:
        found.append(Verdict(finding, where, fails, index))

    if heard.never:
        finding = _never(subject, heard, [group for group in heard.groups if group.tensors])
        add(finding, fails=heard.steps > 0)
    else:
        still = [group for group in heard.groups if group.updated is False and group.frozen < group.tensors]
        if still:
            add(_never(subject, heard, still), fails=False)
    said = {cause for verdict in found for cause in verdict.finding.causes}
    for name, because in _also(heard):
        if name not in said:
            add(_finding(f"{_called(heard)}: {_ALSO[name]}", [(name, because, ())]), fails=False)
    return found


_ALSO = {
    "stale-optimizer": "it holds tensors that no module has",
    "gradient-reused": "a step used gradients that an earlier step had used up",
    "gradients-not-cleared": "gradients of an earlier step were still there",
    "non-finite": "its weights are NaN or infinite",
    "no-step": "it was built in this test and never stepped, although backward ran",
}


def _also(heard: Heard) -> list[tuple[str, Because]]:
    """What is found whether or not something was updated."""
    found: list[tuple[str, Because]] = []
    usual = max(1, heard.steps - heard.objects)
    if heard.orphans and heard.backward_before:
        found.append(("stale-optimizer", _orphans(heard)))
    if 2 * heard.reused >= usual and heard.reused:
        found.append(("gradient-reused", _reused(heard)))
    if 2 * heard.leftover >= usual and heard.leftover:
        found.append(("gradients-not-cleared", _leftover(heard)))
    if heard.non_finite:
        found.append(("non-finite", _non_finite(None, heard)))
    if not heard.steps and not heard.skipped and heard.reached:
        found.append(("no-step", _no_step(heard)))
    return found


def _never(subject: Subject, heard: Heard, groups: list[Group]) -> Finding:
    answers: dict[str, tuple[Because, list[str]]] = {}
    for group in sorted(groups, key=lambda one: -one.tensors):
        name, because = _why(group, heard)
        answers.setdefault(name, (because, []))[1].append(f"group {heard.groups.index(group)}")
    what = "nothing" if heard.never else f"nothing in {len(groups)} of {len(heard.groups)} groups"
    many = f" ({heard.objects} of them)" if heard.objects > 1 else ""
    steps = plural(heard.steps, "step") if heard.steps else f"{plural(heard.skipped, 'step')}, all skipped,"
    claim = f"{_called(heard)}{many} updated {what} in {steps} of this {subject.kind}"
    rows = tuple(_row(heard, group) for group in groups)
    return _finding(claim, [(name, because, tuple(names)) for name, (because, names) in answers.items()], rows)


def _finding(
    claim: str, answers: list[tuple[str, Because, tuple[str, ...]]], rows: tuple[tuple[str, ...], ...] = ()
) -> Finding:
    return Finding(
        claim=claim,
        causes=tuple(name for name, _, _ in answers),
        parameters={group: name for name, _, groups in answers for group in groups},
        reasons=tuple(
            Reason(cause=name, because=because.text, fix=because.fix, parameters=groups)
            for name, because, groups in answers
        ),
        columns=COLUMNS if rows else (),
        rows=rows,
        on_purpose=ON_PURPOSE,
    )


def _row(heard: Heard, group: Group) -> tuple[str, ...]:
    stands = ", ".join(f"{count} {stand}" for stand, count in sorted(group.stands.items()))
    lr = "-" if group.lr is None else "..".join(dict.fromkeys(map(number, group.lr)))
    grad = "-" if group.grad_max is None else number(group.grad_max)
    return str(heard.groups.index(group)), str(group.tensors), lr, grad, stands or "-"


def _called(heard: Heard) -> str:
    return f"{heard.name} (built at {heard.built_at})" if heard.built_at else heard.name


# -- why a group never moved -------------------------------------------------------------------


def _why(group: Group, heard: Heard) -> tuple[str, Because]:
    for name, rule in _RULES:
        because = rule(group, heard)
        if because is not None:
            return name, because
    facts = ", ".join(f"{count} {stand}" for stand, count in group.stands.items()) or "nothing was seen"
    return "unexplained", Because(
        f"none of the known causes fits. Facts: {plural(heard.steps, 'step')}, gradients: {facts}.",
        "please report this test: a cause is missing in the catalogue.",
    )


def _most(group: Group, *stands: str) -> bool:
    return 2 * sum(group.stands.get(stand, 0) for stand in stands) >= sum(group.stands.values()) > 0


def _absent(group: Group) -> bool:
    return _most(group, "none", "cleared")


def _step_skipped(group: Group, heard: Heard) -> Because | None:
    if heard.steps or not heard.skipped:
        return None
    return Because(
        f"GradScaler skipped all {plural(heard.skipped, 'step')}: the scaled gradients were infinite or NaN.",
        "find the operation that overflows, or, if the scale is only still settling, run more steps.",
    )


def _frozen(group: Group, heard: Heard) -> Because | None:
    if group.tensors and group.frozen == group.tensors:
        return Because(
            f"none of its {plural(group.tensors, 'tensor')} requires a gradient.",
            "unfreeze them, or leave them out of the optimizer.",
        )
    return None


def _closure(group: Group, heard: Heard) -> Because | None:
    if not heard.closure or heard.closure_backward or not _absent(group):
        return None
    return Because(
        f"{heard.name}.step(closure){at(heard.stepped_at)} ran and the closure ran no backward pass.",
        "in the closure: zero_grad(), compute the loss, loss.backward(), return the loss.",
    )


def _non_finite(group: Group | None, heard: Heard) -> Because:
    what = "weights" if heard.non_finite else "gradients"
    return Because(
        f"its {what} were NaN or infinite after a step{at(heard.stepped_at)}.",
        "find the first operation that is not finite: torch.autograd.set_detect_anomaly(True) names it.",
    )


def _stuck_at_nan(group: Group, heard: Heard) -> Because | None:
    return _non_finite(group, heard) if _most(group, "non-finite") or heard.non_finite else None


def _orphaned(group: Group, heard: Heard) -> Because | None:
    return _orphans(heard) if heard.orphans >= group.tensors and _absent(group) else None


def _orphans(heard: Heard) -> Because:
    return Because(
        f"{_called(heard)} holds {plural(heard.orphans, 'tensor')} of {heard.tensors} that never got a gradient and"
        " that nothing else refers to: the model has others by now.",
        "build the optimizer after the layer is replaced (or the model converted).",
    )


def _early(group: Group, heard: Heard) -> Because | None:
    if not _absent(group) or heard.backward_before or not heard.backward_after or heard.closure_backward:
        return None
    return Because(
        f"{heard.name}.step(){at(heard.stepped_at)} ran before the backward pass, so there was no gradient yet.", _ORDER
    )


def _scaled_to_zero(group: Group, heard: Heard) -> Because | None:
    # scaled gradients that were all positive look as if they had been cleared
    if "scaled-to-zero" not in group.stands or not _most(group, "zero", "scaled-to-zero", "cleared"):
        return None
    return Because(
        f"its gradients were multiplied by 0 before {heard.name}.step(){at(heard.stepped_at)} (clipping to a norm of 0"
        " does that).",
        "clip to a norm above 0, or do not clip at all.",
    )


def _cleared(group: Group, heard: Heard) -> Because | None:
    if not _most(group, "cleared"):
        return None
    return Because(
        f"gradients arrived and were cleared or zeroed before {heard.name}.step(){at(heard.stepped_at)} could use them.",
        "clear gradients before the forward pass or after the step, not between backward() and step().",
    )


def _no_backward(group: Group, heard: Heard) -> Because | None:
    if not _absent(group) or heard.backward_before or heard.closure_backward:
        return None
    return Because(
        f"{heard.name}.step() ran{at(heard.stepped_at)}, but no backward pass did: all gradients were None.",
        "call loss.backward() before optimizer.step().",
    )


def _detached(group: Group, heard: Heard) -> Because | None:
    if not _absent(group):
        return None
    return Because(
        f"{plural(heard.backward_before + heard.backward_after, 'backward pass')} ran and none reached its tensors:"
        " detached, unused, or another model's; probably detached.",
        "look for detach(), .item(), numpy or no_grad between them and the loss, and for a second model.",
    )


def _zero(group: Group, heard: Heard) -> Because | None:
    if not _most(group, "zero") or group.stands["zero"] <= group.stands.get("usable", 0):
        return None
    return Because(
        "a gradient arrived and every element of it was exactly 0.",
        "check for saturated or dead units, zero initialisation, masks, and a loss that is constant in them.",
    )


def _lr_zero(group: Group, heard: Heard) -> Because | None:
    if 2 * group.lr_zero < heard.steps // heard.objects or not group.lr_zero:
        return None
    return Because(
        f"the learning rate of the group was 0{at(heard.stepped_at)}, {times(group.lr_zero)}.",
        "give the group a learning rate above 0, or, if a scheduler begins at 0, run more steps.",
    )


def _underflow(group: Group, heard: Heard) -> Because | None:
    if group.wrote != "underflow":
        return None
    remedy = "keep these weights in float32" if group.dtype != "float32" else "keep these weights in float64"
    if group.smallest_lr is not None:
        remedy += f", or use a learning rate of at least {number(group.smallest_lr)}"
    return Because(
        f"the update is smaller than {group.dtype} can add to these weights: a float64 replay of the step moves them.",
        f"{remedy}.",
    )


def _needs_closure(group: Group, heard: Heard) -> Because | None:
    if not group.closure_helps or heard.closure:
        return None
    return Because(
        f"{heard.name} was stepped without a closure and wrote nothing; given one, it writes.",
        "pass a closure that clears the gradients, computes the loss, calls backward and returns the loss.",
    )


def _not_written(group: Group, heard: Heard) -> Because | None:
    if not group.stands.get("usable"):
        return None
    return Because(
        f"{heard.name} stepped{at(heard.stepped_at)} with a gradient that is not zero, and wrote nothing.",
        "look into its `step`: it must write into the parameters themselves (in place), and must not return early.",
    )


def _reused(heard: Heard) -> Because:
    return Because(
        f"{heard.reused} of {plural(heard.steps, 'step')}{at(heard.stepped_at)} used a gradient that an earlier step had"
        " used, with no backward pass between.",
        "call backward() before every step.",
    )


def _leftover(heard: Heard) -> Because:
    return Because(
        f"in {heard.leftover} of {plural(heard.steps, 'step')}{at(heard.stepped_at)} the new gradient was added to one"
        " that an earlier step had used.",
        "call optimizer.zero_grad() once before each backward pass (or accumulation window).",
    )


def _no_step(heard: Heard) -> Because:
    return Because(
        "a backward pass gave its tensors gradients, and no optimizer that holds them was stepped in this test.",
        "call optimizer.step() after loss.backward().",
    )


_RULES: tuple[tuple[str, Callable[[Group, Heard], Because | None]], ...] = (
    ("step-skipped", _step_skipped),
    ("requires-grad-false", _frozen),
    ("closure-without-backward", _closure),
    ("non-finite", _stuck_at_nan),
    ("step-before-backward", _early),
    ("no-backward", _no_backward),
    ("stale-optimizer", _orphaned),
    ("zero-gradient", _scaled_to_zero),
    ("gradients-cleared", _cleared),
    ("detached", _detached),
    ("zero-gradient", _zero),
    ("lr-zero", _lr_zero),
    ("update-underflow", _underflow),
    ("closure-not-passed", _needs_closure),
    ("update-not-written", _not_written),
)
