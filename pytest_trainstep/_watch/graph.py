"""Walking an autograd graph from its roots to its leaves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

NODE_LIMIT = 100_000


def root_nodes(roots: Iterable[Any]) -> list[Any]:
    """Return the nodes that a backward pass from `roots` (tensors or gradient edges) starts at."""
    nodes = []
    for root in roots:
        node = getattr(root, "grad_fn", None)
        if node is None and hasattr(root, "node"):  # a GradientEdge
            node = root.node
        if node is not None:
            nodes.append(node)
    return nodes


def leaves(roots: Iterable[Any], limit: int = NODE_LIMIT) -> dict[int, Any] | None:
    """Return the leaf tensors that a backward pass from `roots` reaches, by id.

    None when the graph has more than `limit` nodes: the answer is then "not determined".
    """
    roots = list(roots)
    found = {id(root): root for root in roots if _is_leaf_root(root)}
    # nodes are kept in `seen`: their Python wrappers would otherwise be made anew at every visit
    seen: set[Any] = set()
    stack = root_nodes(roots)
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        if len(seen) > limit:
            return None
        if type(node).__name__ == "AccumulateGrad":  # a user's Function may have `.variable` too
            found[id(node.variable)] = node.variable
        else:
            stack.extend(child for child, _ in node.next_functions if child is not None)
    return found


def _is_leaf_root(root: Any) -> bool:
    return bool(getattr(root, "requires_grad", False)) and getattr(root, "grad_fn", None) is None


def node_names(roots: Iterable[Any]) -> tuple[str, ...]:
    """Name the roots as autograd does: `MseLossBackward0`; a leaf is called `leaf`."""
    return tuple(_node_name(root) for root in roots)


def _node_name(root: Any) -> str:
    nodes = root_nodes([root])
    return str(nodes[0].name()) if nodes else "leaf"
