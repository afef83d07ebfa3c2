"""The two claims about evaluation: it leaves everything as it was, and it gives the same result twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pytest_trainstep._diagnose import evaluation
from pytest_trainstep._errors import EvaluationNotPure, EvaluationNotRepeatable, TrainStepUsageError
from pytest_trainstep._watch import warmup
from pytest_trainstep._watch.evaluating import Evaluation, Viewing

from .matching import optimizers_in


def assert_evaluation_pure(
    model: Any,
    eval_fn: Callable[[], object],
    *,
    optimizer: Any = None,
    allowed: Sequence[str] = (),
    msg: str | None = None,
) -> None:
    """Evaluation leaves the model, its gradients, the optimizer and the random streams as training needs them.

    Weights, buffers, the mode of every module, gradients, `requires_grad`, the grad mode and the optimizer's state must
    be as they were found. Random numbers may be drawn (iterating a DataLoader does), but no stream may be reset; whether
    one is shows in a second evaluation from other random numbers. Buffers that are not part of the state (caches) may
    grow. Afterwards everything is put back, random streams included.

    Args:
        model: A `torch.nn.Module`, or a mapping of names to modules.
        eval_fn: Evaluates the model: called without arguments, may return anything.
        optimizer: The optimizer whose state and groups must stay as they are, or several in a list.
        allowed: What may change: any of "weights", "buffers", "modes", "gradients", "requires_grad", "grad_mode",
            "optimizer", "random".
        msg: Text of your own, printed below the message.

    Raises:
        EvaluationNotPure: With `.finding`: what was left otherwise than it was found, and why.
        TrainStepUsageError: The arguments make no sense.

    Example:
        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout(0.5))
        >>> def evaluate():
        ...     was_training = model.training
        ...     model.eval()
        ...     with torch.no_grad():
        ...         score = model(torch.ones(4, 2)).mean().item()
        ...     model.train(was_training)
        ...     return score
        >>> assert_evaluation_pure(model, evaluate)
    """
    __tracebackhide__ = True
    _check(eval_fn)
    _check_allowed(allowed)
    optimizers = [] if optimizer is None else optimizers_in(optimizer)
    warmup.warm_up()
    viewing = Evaluation(model, eval_fn, optimizers).view()
    changes = [evaluation.Change(**found._asdict()) for found in viewing.found]
    changes += [evaluation.Change(aspect="random", name=one, was="on its way", now="reset") for one in viewing.resets]
    changes = [change for change in changes if change.aspect not in allowed]
    if changes:
        raise EvaluationNotPure(evaluation.impurities(changes, _events(viewing), msg=msg))


def _check_allowed(allowed: Sequence[str]) -> None:
    wrong = [repr(aspect) for aspect in allowed if aspect not in evaluation.ASPECTS]
    if wrong or isinstance(allowed, str):
        given = repr(allowed) if isinstance(allowed, str) else wrong[0]
        msg = f"allowed must be a list of some of {', '.join(evaluation.ASPECTS)}; not {given}"
        raise TrainStepUsageError(msg)


def _events(viewing: Viewing) -> evaluation.Events:
    steps = [event for event in viewing.heard if event.kind == "step" and event.holds]
    passes = [event for event in viewing.heard if event.kind == "backward" and event.after != event.before]
    return evaluation.Events(
        optimizer=steps[0].name if steps else None,
        stepped_at=steps[0].at if steps else None,
        backward_at=passes[0].at if passes else None,
        backwards=len(passes),
        seeded_at=next((at for at in viewing.resets.values() if at), None),
    )


def assert_evaluation_repeatable(model: Any, eval_fn: Callable[[], object], *, msg: str | None = None) -> None:
    """Two evaluations in a row give the same result.

    What `eval_fn` returns (numbers, tensors, texts, in lists, dictionaries and objects) is compared value by value;
    floating-point noise is allowed, and numbers whose name says that they are a clock (`runtime`, `samples_per_second`)
    are left out. Afterwards weights, buffers, modes, gradients and random streams are as they were found.

    Args:
        model: A `torch.nn.Module`, or a mapping of names to modules.
        eval_fn: Evaluates the model: called without arguments, returns what is compared.
        msg: Text of your own, printed below the message.

    Raises:
        EvaluationNotRepeatable: With `.finding`: which values differ, and whether chance or state made them.
        TrainStepUsageError: The arguments make no sense, or `eval_fn` returns nothing.

    Example:
        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout(0.5)).eval()
        >>> assert_evaluation_repeatable(model, lambda: model(torch.ones(4, 2)).mean().item())
    """
    __tracebackhide__ = True
    _check(eval_fn)
    warmup.warm_up()
    found = Evaluation(model, eval_fn).repeat()
    if found.nothing:
        raise TrainStepUsageError("eval_fn must return what is to be compared (a score, predictions), not None")
    if not found.differing:
        return
    seen = evaluation.Repeats(
        returns=found.returns,
        by_chance=found.by_chance,
        carried=tuple(found.carried),
        dropouts=tuple(found.dropouts),
        drawn=tuple(found.drawn),
    )
    raise EvaluationNotRepeatable(evaluation.unrepeatable(found.differing, found.total, seen, msg=msg))


def _check(eval_fn: object) -> None:
    if not callable(eval_fn):
        msg = f"eval_fn must be callable without arguments, not {type(eval_fn).__name__}: pass the function, not its result"
        raise TrainStepUsageError(msg)
