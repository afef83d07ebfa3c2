"""The claim about memory: a step lets go of the graph that it built."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_trainstep._diagnose import Finding
from pytest_trainstep._diagnose import memory as diagnosis
from pytest_trainstep._errors import MemoryNotFlat, TrainStepUsageError
from pytest_trainstep._watch import holders, naming, survivors, warmup

from . import advice
from .weights import steps_of

_FEWEST = 3  # one to warm up, two to see whether it goes on
_TRACED = 200  # tensors whose holder is looked for
_Member = tuple[Any, dict[int, int], str | None]  # a tensor, the nodes behind it by call, the container it lies in


def assert_memory_flat(
    model: Any,
    step_fn: Callable[[], object],
    *,
    steps: int | None = 4,
    msg: str | None = None,
) -> None:
    """Steps do not keep the graphs of earlier steps alive.

    After each call every living autograd node is counted by the call that built it. A graph that stays until the
    next call, a buffer of bounded length, and graphs that are let go at the end of a window are flat; so is
    everything that grows without a graph (numbers, detached tensors, snapshots of weights). What fails is a number of
    living graphs that is larger at the end than in the middle, with none of those of the middle let go.

    Nothing is run more often than asked, and nothing of the step is altered; garbage is collected after each call.

    Args:
        model: A `torch.nn.Module`, or a mapping of names to modules; it gives names to what is found in it.
        step_fn: The user's own step: called without arguments, may return anything.
        steps: How often it is called, 3 at least.
        msg: Text of your own, printed below the message.

    Raises:
        MemoryNotFlat: With `.finding`: which attribute, variable or global holds the graphs, where it can be found.
        TrainStepUsageError: The arguments make no sense, or no backward pass ran in any call.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> losses = []
        >>> def step():
        ...     optimizer.zero_grad()
        ...     loss = model(torch.ones(1, 2)).square().sum()
        ...     loss.backward()
        ...     optimizer.step()
        ...     losses.append(loss.item())  # not the loss itself
        >>> assert_memory_flat(model, step)
    """
    __tracebackhide__ = True
    count = _checked(step_fn, steps)
    modules = naming.modules_of(model)
    warmup.warm_up()
    register = survivors.Register()
    moments = _watched(register, step_fn, count)
    if moments.grows():
        raise MemoryNotFlat(_finding(register, moments, modules, msg))


def _checked(step_fn: object, steps: int | None) -> int:
    count = steps_of(step_fn, steps, default=4)
    if count < _FEWEST:
        msg = f"steps must be {_FEWEST} or more, not {count}: growth cannot be told from warming up in fewer"
        raise TrainStepUsageError(msg)
    return count


@dataclass(frozen=True, slots=True)
class _Moments:
    """What was alive in the middle and at the end."""

    middle: int
    then: survivors.Survey
    end: int
    now: survivors.Survey

    def grows(self) -> bool:
        """More graphs are alive at the end than in the middle, and none of the middle was let go.

        The last graph of each moment does not count: the next step may overwrite it.
        """
        then, now = self.then.calls(), self.now.calls()
        return then - {self.middle} <= now and len(now) > len(then) and len(now - {self.end}) > 1


def _watched(register: survivors.Register, step_fn: Callable[[], object], steps: int) -> _Moments:
    middle = (steps + 1) // 2
    surveys = {}
    with survivors.Passes() as passes:
        for call in range(1, steps + 1):
            register.begin_call()
            try:
                step_fn()  # what it returns is let go at once
            except BaseException as error:
                advice.add_note(error)
                raise
            if call in (middle, steps):
                surveys[call] = register.look()
    if not passes.count:
        msg = f"no backward pass ran in {steps} calls of step_fn: what is kept for a later one cannot be judged; pass a larger steps="
        raise TrainStepUsageError(msg)
    return _Moments(middle, surveys[middle], steps, surveys[steps])


def _finding(register: survivors.Register, moments: _Moments, modules: Mapping[str, Any], msg: str | None) -> Finding:
    alive = moments.now.calls()
    holdings = _holdings(register, alive - {moments.end}, modules)
    notes = [] if moments.now.complete else [f"more than {survivors.NODE_LIMIT} nodes are alive; not all were counted"]
    counts = {
        call: sum(survey.nodes[one] for one in survey.calls())
        for call, survey in ((moments.middle, moments.then), (moments.end, moments.now))
    }
    return diagnosis.finding(counts, len(alive), holdings, notes, msg)


def _holdings(register: survivors.Register, calls: set[int], modules: Mapping[str, Any]) -> list[diagnosis.Holding]:
    names = {
        id(inner): path for prefix, module in modules.items() for path, inner in module.named_modules(prefix=prefix)
    }
    gradients = {
        id(tensor.grad): name
        for module in modules.values()
        for name, tensor in module.named_parameters()
        if tensor.grad is not None
    }
    found = register.holders_of(calls)[:_TRACED]
    things = [thing for thing, _ in found]
    held = holders.holders_of(things, names, {id(found), *map(id, found)})
    groups: dict[str | None, list[_Member]] = {}
    for number, (thing, births) in enumerate(found):
        if id(thing) in gradients:
            groups.setdefault(f"{gradients[id(thing)]}.grad", []).append((thing, births, "grad"))
        else:
            holder = held.get(number)
            member = (thing, births, holder.container if holder else None)
            groups.setdefault(holder.name if holder else None, []).append(member)
    if len(groups) > 1:
        groups.pop(None, None)
    holdings = [_holding(name, members) for name, members in groups.items()]
    return sorted(holdings, key=lambda one: (-len(one.calls), -one.nodes))


def _holding(name: str | None, members: Sequence[_Member]) -> diagnosis.Holding:
    nodes: dict[int, int] = {}
    for _, births, _ in members:
        for call, count in births.items():
            nodes[call] = max(nodes.get(call, 0), count)
    nodes.pop(0, None)
    container = members[0][2]
    return diagnosis.Holding(
        name=name,
        container=None if container == "grad" else container,
        tensors=len(members),
        single=all(getattr(thing, "numel", lambda: 0)() == 1 for thing, _, _ in members),
        gradient=container == "grad",
        calls=tuple(sorted(nodes)),
        nodes=sum(nodes.values()),
        reach=max(len(set(births) - {0}) for _, births, _ in members),
    )
