"""Which autograd graphs outlive the step that built them: living nodes, by the call that built them.

Autograd numbers its nodes as it makes them, so the numbers at the beginning of each call tell whose a node is. Nodes
are never held: a count that kept what it counts alive would find what it looks for.
"""

from __future__ import annotations

import bisect
import gc
import itertools
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from .listeners import Listener

NODE_LIMIT = 400_000


@dataclass(slots=True)
class Survey:
    """How many nodes are alive, by the call that built them; 0 is before the watch."""

    nodes: dict[int, int] = field(default_factory=dict)
    complete: bool = True

    def calls(self) -> set[int]:
        """Return the calls of which a graph is alive."""
        return {call for call in self.nodes if call}


class Passes(Listener):
    """Counts what uses up a graph: backward passes and calls of `torch.autograd.grad`."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def before_backward(self, roots: Any) -> object:  # noqa: ARG002 - the signature is the watcher's
        """See `taps.Watcher`."""
        self.count += 1
        return None

    def differentiated(self, inputs: Any) -> None:  # noqa: ARG002 - as above
        """See `taps.Watcher`."""
        self.count += 1


class Register:
    """Knows by the number of a node which call built it."""

    def __init__(self) -> None:
        self._starts: list[int] = []

    def begin_call(self) -> None:
        """The next call begins: what is built from now on is its own."""
        self._starts.append(_clock())

    def birth(self, node: Any) -> int:
        """Return the call that built `node`; 0 if it is older."""
        return bisect.bisect_right(self._starts, node._sequence_nr())  # noqa: SLF001 - a test in tests/test_memory.py watches over it

    def look(self) -> Survey:
        """Collect garbage, which may hold graphs in cycles, and walk every living graph."""
        gc.collect()
        survey = Survey()
        for count, node in enumerate(nodes_from([node for _, node in _entries()], set())):
            if count >= NODE_LIMIT:
                survey.complete = False
                break
            birth = self.birth(node)
            survey.nodes[birth] = survey.nodes.get(birth, 0) + 1
        return survey

    def births(self, node: Any) -> dict[int, int]:
        """Return the calls whose graphs hang on `node`, and how many nodes of each."""
        found: dict[int, int] = {}
        for one in itertools.islice(nodes_from([node], set()), NODE_LIMIT):
            birth = self.birth(one)
            found[birth] = found.get(birth, 0) + 1
        return found

    def holders_of(self, calls: set[int]) -> list[tuple[Any, dict[int, int]]]:
        """Return the living tensors, else the nodes, through which graphs of these calls are kept alive."""
        entries = list(_entries())
        tensors = [(thing, node) for thing, node in entries if thing is not node]
        covered: set[Any] = set()
        deque(nodes_from([node for _, node in tensors], covered), maxlen=0)
        # torch may keep the Python object of a node for as long as the node lives: only the outermost hold anything
        alone = [node for thing, node in entries if thing is node and node not in covered]
        inner = {child for node in alone for child, _ in node.next_functions}
        roots = [*tensors, *((node, node) for node in alone if node not in inner)]
        found = [(thing, self.births(node)) for thing, node in roots]
        return [(thing, births) for thing, births in found if calls.intersection(births)]


def nodes_from(roots: Sequence[Any], seen: set[Any]) -> Iterator[Any]:
    """Yield every node of the graphs that is not in `seen`, which takes them up; leaves are left out."""
    stack = list(roots)
    while stack:
        node = stack.pop()
        if node in seen or type(node).__name__ == "AccumulateGrad":  # it lives as long as its parameter
            continue
        seen.add(node)
        yield node
        stack.extend(child for child, _ in node.next_functions if child is not None)


def _clock() -> int:
    """Return the number that the next node of this thread will have."""
    ask = getattr(torch.autograd, "_get_sequence_nr", None)
    if ask is not None:
        return int(ask())
    with torch.enable_grad():  # a torch without the private name: make a node and read it off
        node: Any = torch.ones((), requires_grad=True).clone().grad_fn
    return int(node._sequence_nr()) + 1  # noqa: SLF001 - as above


def _entries() -> Iterator[tuple[Any, Any]]:
    """Every Python object through which a graph can be held: a tensor with a history, or a node itself."""
    everything = gc.get_objects()
    kinds = set(map(type, everything))  # never isinstance: it asks proxies and mocks for their class
    tensors = {kind for kind in kinds if issubclass(kind, torch.Tensor)}
    wanted = tensors | {kind for kind in kinds if _is_node(kind)}
    chosen = [thing for thing in everything if type(thing) in wanted]
    del everything
    for thing in chosen:
        node = _history(thing) if type(thing) in tensors else thing
        if node is not None:
            yield thing, node


def _is_node(kind: Any) -> bool:
    return kind.__name__ != "AccumulateGrad" and issubclass(kind, torch.autograd.graph.Node)


def _history(tensor: Any) -> Any:
    try:
        with torch._C.DisableTorchFunctionSubclass():  # noqa: SLF001 - the user's subclass must not hear of this
            return vars(torch._C.TensorBase)["grad_fn"].__get__(tensor)  # noqa: SLF001 - past the user's properties
    except Exception:  # noqa: BLE001 - tensors of torch.func and half-built ones refuse
        return None
