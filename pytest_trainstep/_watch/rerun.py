"""One more run of a step that failed its claim, to look closer; everything is put back afterwards."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch

from pytest_trainstep._record import Evidence, ParameterRecord, StepRecord

from . import taps
from .restore import Memory
from .session import as_list
from .trace import Trace, Tracer, loss_in

if TYPE_CHECKING:
    from .session import Session

REFUSED = "the step could not be run once more to look closer: {}"


class _Listener:
    """Tells the tracer where backward passes begin and when an optimizer is at work."""

    def __init__(self, tracer: Tracer) -> None:
        self.notes: list[str] = []
        self.tracer = tracer

    def before_step(self, _optimizer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        closure = taps.closure_of(args, kwargs)
        self.tracer.in_step += closure is None  # a closure computes the loss inside the step

    def after_step(self, _optimizer: Any) -> None:
        self.tracer.in_step = max(0, self.tracer.in_step - 1)

    def step_skipped(self, _optimizer: Any, *, reported: bool) -> None:
        """Nothing to learn from it."""

    def before_backward(self, roots: Sequence[Any]) -> object:
        self.tracer.note_backward(as_list(roots))
        return None

    def after_backward(self, token: object, error: BaseException | None) -> None:
        """Nothing to learn from it."""

    def differentiated(self, inputs: Sequence[Any]) -> None:
        """Nothing to learn from it."""


def look_closer(
    session: Session, optimizers: Sequence[Any], step_fn: Callable[[], object], record: StepRecord
) -> StepRecord:
    """Run `step_fn` once more under a trace and add what it showed to `record`."""
    if session.getter is not None:
        return record
    if any(isinstance(inner, torch.jit.ScriptModule) for one in session.modules.values() for inner in one.modules()):
        return dataclasses.replace(record, rerun_note=REFUSED.format("the model is scripted"))
    try:
        memory = Memory(list(session.modules.values()), optimizers, session.tensors)
    except Exception as error:  # noqa: BLE001 - a foreign optimizer, say: what cannot be put back is not run
        return dataclasses.replace(record, rerun_note=REFUSED.format(f"it could not be put back ({error})"))
    tracer = Tracer(dict(enumerate(session.tensors)))
    try:
        refused = _run(step_fn, tracer, session)
    finally:
        memory.restore()
    if refused is not None:
        return dataclasses.replace(record, rerun_note=REFUSED.format(refused))
    parameters = dict(record.parameters)
    for number, slot in enumerate(session.slots):
        if slot.name in parameters:
            parameters[slot.name] = _enriched(parameters[slot.name], number, tracer.trace)
    refusal = record.failed_backward or tracer.trace.backward_error
    return dataclasses.replace(record, parameters=parameters, failed_backward=refusal, reran=True)


def _uncompiled() -> AbstractContextManager[object]:
    """Compiled code does not pass through the trace: run what it was compiled from."""
    stance = getattr(torch.compiler, "set_stance", None)
    return nullcontext() if stance is None else stance("force_eager")


def _run(step_fn: Callable[[], object], tracer: Tracer, session: Session) -> str | None:
    listener = _Listener(tracer)
    taps.attach(listener)
    hooks: list[Any] = []
    try:
        for module in session.modules.values():
            probe = _functional_probe(module, session, tracer.trace)
            hooks.append(module.register_forward_pre_hook(probe))
        hooks += _gradient_probes(session, tracer.trace)
        with warnings.catch_warnings(), _uncompiled(), tracer:
            warnings.simplefilter("ignore")
            tracer.note_return(step_fn())
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - StopIteration, pytest.fail ...: the first run is what counts
        return f"{type(error).__name__}"
    finally:
        for hook in hooks:
            hook.remove()
        taps.detach(listener)
    return None


def _functional_probe(module: torch.nn.Module, session: Session, trace: Trace) -> Callable[..., None]:
    """See, as the model is called, whether `functional_call` has put other tensors in its place."""

    def probe(*_: object) -> None:
        own = list(torch.nn.Module.parameters(module))
        if own and not any(id(tensor) in session.index for tensor in own):
            trace.functional = True

    return probe


def _gradient_probes(session: Session, trace: Trace) -> list[Any]:
    """See the gradient before the user's own hooks on the parameter do, where there are any."""
    handles = []
    for number, tensor in enumerate(session.tensors):
        hooks: Any = getattr(tensor, "_backward_hooks", None)
        if not hooks or not tensor.requires_grad:
            continue

        def probe(grad: torch.Tensor, number: int = number) -> None:
            if bool(grad.any()):
                trace.hook_zeroes.add(number)

        theirs = dict(hooks)
        hooks.clear()  # hooks run in the order of insertion, and torch has no public way to be first
        handles.append(tensor.register_hook(probe))  # type: ignore[no-untyped-call]
        hooks.update(theirs)
    return handles


def _enriched(row: ParameterRecord, number: int, trace: Trace) -> ParameterRecord:
    loss = trace.loss or {}
    cut = loss.get(number)
    blind = trace.loss is None or (not loss and not trace.used)
    flat, cleared = trace.flat.get(number), trace.cleared.get(number)
    evidence = dataclasses.replace(
        row.evidence,
        ran=number in trace.used,
        in_loss=None if blind else number in loss,
        connected=number in loss and cut is None,
        cut_by=cut.by if cut else None,
        cut_at=cut.at if cut else None,
        cut_no_grad=bool(cut and cut.no_grad),
        flat_by=flat[0] if flat else None,
        flat_at=flat[1] if flat else None,
        cleared_by=cleared[0] if cleared else None,
        cleared_at=cleared[1] if cleared else None,
        computed_at=trace.computed.get(number),
        lost_loss_at=trace.lost_loss.get(number),
        hook_zeroes=number in trace.hook_zeroes,
        functional=row.evidence.functional or trace.functional,
    )
    return dataclasses.replace(row, evidence=evidence)


def non_finite_return(values: Sequence[object]) -> bool:
    """Tell whether a loss returned by the step is NaN or infinite."""
    for value in values:
        tensor = loss_in(value)
        number: Any = value if isinstance(value, float) else None
        if tensor is not None and tensor.numel() and tensor.is_floating_point():
            number = float(tensor.detach().sum())
        if number is not None and not math.isfinite(number):
            return True
    return False


__all__ = ["Evidence", "look_closer", "non_finite_return"]
