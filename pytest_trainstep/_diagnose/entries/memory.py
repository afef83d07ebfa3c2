"""Why the graphs of earlier steps are still alive."""

from __future__ import annotations

from pytest_trainstep._diagnose.catalogue import Entry


def _cause(name: str, fault: str, example: str, fix: str) -> Entry:
    on_purpose = "pass a larger steps= if the graphs are let go later, at the end of a window or an episode."
    return Entry(
        name=name, claims=("assert_memory_flat",), fault=fault, example=example, fix=fix, on_purpose=on_purpose
    )


ENTRIES: tuple[Entry, ...] = (
    _cause(
        "gradient-keeps-graph",
        "The gradients themselves have a graph: backward ran with create_graph=True, and they are never set to None,"
        " so each step adds its graph to theirs.",
        "loss.backward(create_graph=True)\noptimizer.step()\nfor p in model.parameters():\n    p.grad *= 0  # keeps the graph of every earlier step",
        "set the gradients to None after each step, or use torch.autograd.grad where create_graph is needed.",
    ),
    _cause(
        "graph-chained",
        "A tensor is computed anew from its own last value in each step, and its history reaches through all of them:"
        " a running sum or average of the loss, the best loss so far, a hidden state, a queue of features.",
        "running_loss += loss                          # in place of loss.item()\nhidden = rnn(x, hidden)[1]                    # in place of .detach()",
        "use loss.item() for numbers, and detach states between steps.",
    ),
    _cause(
        "graph-collected",
        "Tensors are collected with their graphs: losses, predictions or activations in a list, deque or dict.",
        "predictions.append(model(x))  # in place of model(x).detach()",
        "collect numbers (loss.item()) or detached tensors, or clear the container after each step.",
    ),
)
