"""The end of a watch: numbers for every parameter, evidence for those that did not move, the record."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.parameter import UninitializedParameter

from pytest_trainstep._record import (
    Evidence,
    OptimizerRecord,
    ParameterRecord,
    StepRecord,
    Underflow,
)

from . import hidden, measures, naming, origins, owners, snapshots
from .stepping import Held

if TYPE_CHECKING:
    from .session import Foreign, Session


_NO_EVIDENCE = Evidence()


class Closing:
    """Turns a session that has stopped listening into a `StepRecord`."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.evidence: dict[int, dict[str, Any]] = {}
        self.extra: list[ParameterRecord] = []
        self.known: list[Held] = []
        self.optimizer_facts: dict[int, dict[str, Any]] = {}

    def conclude(self) -> StepRecord:
        """Measure, gather, and write it all down."""
        session = self.session
        session.refresh()
        self._follow_getter()
        if session.modules:
            session.adopt()  # what the last call registered counts too
            if session.gone:
                session.notes.append(naming.farewell([session.slots[index].name for index in sorted(session.gone)]))
        session.ledger.sync()
        measured = measures.changes(session.before, session.tensors)
        session.end_call([change.moved for change in measured])
        self.failed = [index for index in range(len(session.slots)) if self._failed(index)]
        try:
            self._gather()
        except Exception as error:  # noqa: BLE001 - a fault of ours may cost evidence, never the user's test
            session.notes.append(f"internal: evidence: {type(error).__name__}: {error}")
        for index in range(len(session.slots)):
            if session.gradient[index] == "none" and not session.holders[index]:
                session.gradient[index] = session.ledger.stand(index)
        return self._record(measured)

    def optimizers(self) -> list[Any]:
        """Return every optimizer that stepped or is known to hold a watched tensor."""
        return [held.optimizer for held in (*self.session.held.values(), *self.known)]

    def _follow_getter(self) -> None:
        """Functional training: the names may now stand for other tensors."""
        session = self.session
        if session.getter is None:
            return
        now = session.getter()
        for index, slot in enumerate(session.slots):
            tensor = now.get(slot.raw)
            if isinstance(tensor, torch.Tensor) and tensor is not session.tensors[index]:
                slot.tensor = tensor
                session._rebind(index, tensor)  # noqa: SLF001 - the same room

    def _failed(self, index: int) -> bool:
        session = self.session
        if not session.trainable[index] or index in session.gone:
            return False
        if _lazy(session.tensors[index]):
            return True
        if session.tensors[index].numel() == 0:
            return False
        if session.first_moved[index] is None:
            return True
        unhealthy = session.step_moved[index] and not session.settled[index]
        return unhealthy and not session.outside[index]

    def _holds_frozen_only(self) -> bool:
        session = self.session
        return any(
            held.indices and not any(session.trainable[index] for index in held.indices)
            for held in session.held.values()
        )

    # -- evidence --------------------------------------------------------------------------

    def _gather(self) -> None:
        for index in self.failed:
            self.evidence[index] = self._own_evidence(index)
        strangers = [one for one in self.session.foreign.values() if _still(one)]
        if self.failed or strangers or self._holds_frozen_only():
            self._take_census(strangers)

    def _own_evidence(self, index: int) -> dict[str, Any]:
        session = self.session
        facts: dict[str, Any] = {}
        verdict = session.underflow.get(index)
        if verdict is not None and verdict.kind == "underflow":
            facts["underflow"] = Underflow(
                lr=verdict.lr,
                smallest_lr=verdict.smallest_lr,
                wanted=verdict.wanted,
                spacing=verdict.spacing,
                swallowed=verdict.swallowed,
            )
        facts["closure_helps"] = verdict is not None and verdict.closure_helps
        touched = session.touched_elements.get(index)
        if touched is not None:
            facts["moved_with_gradient"], facts["with_gradient"] = touched
        facts["accumulating"] = self._accumulating(index)
        facts["functional"] = self._functional()
        hooks = getattr(session.tensors[index], "_post_accumulate_grad_hooks", None)
        facts["hook_takes"] = bool(hooks) and not session.ledger.reached[index]
        return facts

    def _functional(self) -> bool:
        """Copies with the very shapes of the failed parameters were differentiated, or took the gradients."""
        session = self.session
        shapes = sorted(_shape(session.tensors[index]) for index in self.failed)
        reached = [tuple(one.tensor.shape) for one in session.foreign.values()]
        return any(sorted(call) == shapes for call in (*session.differentiated_shapes, reached))

    def _accumulating(self, index: int) -> str | None:
        session = self.session
        ledger = session.ledger
        if session.holders[index] or ledger.thrown[index] or ledger.window[index] is None:
            return None
        if ledger.reached[index] == 0 or ledger.versions[index] < 0:
            return None
        state = sys.modules.get("accelerate.state")
        shared = getattr(getattr(state, "GradientState", None), "_shared_state", None) or {}
        if shared.get("sync_gradients") is False:
            return "accelerate is inside an accumulation window"
        return "earlier" if self._stepped_earlier(index) else None

    def _stepped_earlier(self, index: int) -> bool:
        tensor = self.session.tensors[index]
        for optimizer in origins.known():
            held = any(one is tensor for one in owners.held_tensors(optimizer))
            if held and (origins.has_stepped(optimizer) or optimizer.state.get(tensor)):
                return True
        return False

    def _take_census(self, strangers: Sequence[Foreign]) -> None:
        session = self.session
        census = owners.Census(session.modules.values())
        ids = {id(session.tensors[index]) for index in self.failed}
        ids |= {id(stranger.tensor) for stranger in strangers}
        for optimizer in census.holding(ids):
            if id(optimizer) not in session.held:
                self.known.append(self._known(optimizer))
        self._find_hidden(strangers, census)
        for held in (*session.held.values(), *self.known):
            self.optimizer_facts[id(held.optimizer)] = self._whose(held, census)
        self._find_copy(census)

    def _known(self, optimizer: Any) -> Held:
        session = self.session
        held = Held(optimizer, len(session.held) + len(self.known))
        for tensor in owners.held_tensors(optimizer):
            index = session.index.get(id(tensor))
            if index is not None:
                held.indices.append(index)
                session.holders[index].add(held.index)
        return held

    def _whose(self, held: Held, census: owners.Census) -> dict[str, Any]:
        """Sort an optimizer's tensors: watched, somebody else's, nobody's."""
        tensors = owners.held_tensors(held.optimizer)
        others = [tensor for tensor in tensors if id(tensor) not in self.session.index]
        owned = [census.owner_of[id(tensor)] for tensor in others if id(tensor) in census.owner_of]
        # what a backward pass reached is in use: learned loss weights, a latent code
        lost = [one for one in others if id(one) not in census.owner_of]
        return {
            "orphans": sum(id(one) not in self.session.foreign for one in lost),
            "foreign": len(owned),
            "owner": type(owned[0]).__name__ if owned else None,
        }

    def _find_copy(self, census: owners.Census) -> None:
        """Look for the module that was trained in place of the failed parameters."""
        session = self.session
        optimizers = [held for held in session.held.values() if held.steps]
        trained = {id(one) for held in optimizers for one in owners.held_tensors(held.optimizer)}
        trained |= set(session.foreign)
        astray = {session.slots[index].name: index for index in self.failed if self._astray(index)}
        found = census.copy_of({name: session.slots[index] for name, index in astray.items()}, trained)
        if found is None:
            return
        for name in found[1]:
            self.evidence[astray[name]]["copy_of"] = found[0]

    def _astray(self, index: int) -> bool:
        """No step held it, or no gradient ever reached it: something else may have been trained."""
        session = self.session
        if _lazy(session.tensors[index]):
            return False
        stepped = any(held.steps and index in held.indices for held in session.held.values())
        return not stepped or session.ledger.reached[index] == 0

    def _find_hidden(self, strangers: Sequence[Foreign], census: owners.Census) -> None:
        """Name the unregistered parameters that a backward pass reached and nothing updates."""
        session = self.session
        if not strangers or not session.modules:
            return
        held = {
            id(tensor)
            for optimizer in (*census.optimizers, *census.duck_typed)
            for tensor in owners.held_tensors(optimizer)
        }
        reached = {id(stranger.tensor): stranger for stranger in strangers}
        anything = bool(session.slots)
        for one in hidden.find(session.modules, set(session.index)):
            wanted = isinstance(one.tensor, nn.Parameter) or one.container == "buffer" or not anything
            stranger = reached.pop(id(one.tensor), None)
            if stranger is None or one.fixed or not wanted or id(one.tensor) in held:
                continue
            self.extra.append(_hidden_record(one, stranger))

    # -- the record ------------------------------------------------------------------------

    def _record(self, measured: Sequence[measures.Change]) -> StepRecord:
        session = self.session
        parameters = {
            slot.name: self._parameter(index, measured[index])
            for index, slot in enumerate(session.slots)
            if index not in session.gone
        }
        for row in self.extra:
            parameters.setdefault(row.name, row)
        return StepRecord(
            calls=session.call,
            parameters=parameters,
            optimizers=tuple(self._optimizer(held) for held in (*session.held.values(), *self.known)),
            steps=tuple(session.steps),
            backwards=tuple(session.backwards),
            step_count=session.step_count,
            backward_count=session.ledger.backward - session.failed_backwards,
            failed_backward=session.failed_backward,
            losses=tuple(float(loss.real) for loss in session.losses),
            notes=tuple(dict.fromkeys(session.notes)),
        )

    def _parameter(self, index: int, change: measures.Change) -> ParameterRecord:
        session, slot = self.session, self.session.slots[index]
        tensor = session.tensors[index]
        ratio = change.rms_change / change.rms_before if change.rms_before else None
        return ParameterRecord(
            name=slot.name,
            aliases=slot.aliases,
            shape=_shape(tensor),
            dtype=str(tensor.dtype).removeprefix("torch."),
            device=snapshots.device_of(tensor),
            numel=0 if _lazy(tensor) else tensor.numel(),
            trainable=session.trainable[index],
            buffer=slot.buffer,
            moved=session.first_moved[index] is not None,
            first_moved=session.first_moved[index],
            max_change=change.max_change,
            rms_change=change.rms_change,
            update_ratio=ratio,
            elements_changed=change.elements,
            sampled=change.sampled,
            replaced=session.replaced[index],
            restored=session.step_moved[index] and session.first_moved[index] is None,
            finite=change.finite,
            gradient=session.gradient[index],
            grad_max=self._grad_max(index),
            reached=session.ledger.reached[index],
            in_graph=index in session.in_graph or session.ledger.reached[index] > 0,
            held_by=tuple(sorted(session.holders[index])),
            lr=session.lr[index],
            weight_decay=session.decay[index],
            gradient_moved=session.settled[index],
            outside_moved=session.outside[index],
            occasions=tuple(session.occasions[index]),
            evidence=Evidence(**self.evidence[index]) if index in self.evidence else _NO_EVIDENCE,
        )

    def _grad_max(self, index: int) -> float | None:
        """The largest gradient seen at a step, else (only for the message) the one lying there now."""
        kept = self.session.maximum[index]
        tensor = self.session.tensors[index]
        if kept is not None or index not in self.evidence or not tensor.is_leaf or tensor.grad is None:
            return kept
        return measures.largest([tensor.grad])[0]

    def _optimizer(self, held: Held) -> OptimizerRecord:
        session = self.session
        facts = self.optimizer_facts.get(id(held.optimizer), {})
        why = owners.why_unobserved(held.optimizer)
        return OptimizerRecord(
            name=type(held.optimizer).__name__,
            built_at=owners.birthplace(held.optimizer),
            stepped_at=held.stepped_at,
            steps=held.steps,
            skipped=held.skipped,
            holds=len(owners.held_tensors(held.optimizer)),
            watched=len(held.indices),
            watched_trainable=sum(session.trainable[index] for index in held.indices),
            observed=held.steps > 0 or held.skipped > 0 or why is None,
            why_unobserved=why,
            lrs=held.lrs,
            **facts,
        )


def _still(stranger: Foreign) -> bool:
    return not snapshots.moved(stranger.before, stranger.tensor)


def _lazy(tensor: torch.Tensor) -> bool:
    return isinstance(tensor, UninitializedParameter)


def _shape(tensor: torch.Tensor) -> tuple[int, ...]:
    return () if _lazy(tensor) else tuple(tensor.shape)


def _hidden_record(one: hidden.Hidden, stranger: Foreign) -> ParameterRecord:
    grad = stranger.tensor.grad
    return ParameterRecord(
        name=one.name,
        shape=tuple(one.tensor.shape),
        dtype=str(one.tensor.dtype).removeprefix("torch."),
        device=snapshots.device_of(one.tensor),
        numel=one.tensor.numel(),
        registered=False,
        reached=stranger.reached,
        gradient="none" if grad is None else "fresh",
        grad_max=None if grad is None else measures.largest([grad])[0],
        evidence=Evidence(hidden_in=one.container, cast=one.cast),
    )
