"""Losses: reading them from whatever a step returns, and looking into the call that computes one."""

from __future__ import annotations

import gc
import itertools
import math
import numbers
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from pytest_trainstep._errors import TrainStepUsageError

from . import sites, taps
from .listeners import Listener
from .restore import Memory

_REGRESSION = {"mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"}
_LOSSES = _REGRESSION | {"cross_entropy", "nll_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits"}
_MINUS = {"sub", "__sub__", "__rsub__", "rsub"}
_BOUNDED = {
    "ReluBackward0": "relu",
    "SigmoidBackward0": "sigmoid",
    "TanhBackward0": "tanh",
    "SoftmaxBackward0": "softmax",
    "SoftplusBackward0": "softplus",
}
_SHAPING = ("View", "Reshape", "Squeeze", "Unsqueeze", "Select", "Slice", "Transpose", "TBackward", "Alias", "Permute")
_KEPT = 200  # calls of loss functions


def number_in(value: Any) -> float | None:
    """Read a loss: a scalar tensor or a float, or that under `loss`; None where there is none.

    Whole numbers and truth values are counts and flags, not losses.
    """
    if isinstance(value, torch.Tensor):
        if value.numel() != 1 or not value.is_floating_point() or value.device.type == "meta":
            return None
        return float(value.detach())
    if isinstance(value, numbers.Real):
        return None if isinstance(value, numbers.Integral) else float(value)
    if isinstance(value, Mapping):
        return number_in(value.get("loss"))
    if isinstance(value, list | tuple):
        return next((found for found in map(number_in, value) if found is not None), None)
    inner = getattr(value, "loss", None)
    return number_in(inner) if isinstance(inner, torch.Tensor | float) else None


def is_named(value: Any) -> bool:
    """Tell whether a loss is returned under that name, and not as a bare number."""
    return not isinstance(value, torch.Tensor | numbers.Real | list | tuple)


class Roots(Listener):
    """Hears the values that backward passes start from, and the learning rates of the steps."""

    def __init__(self) -> None:
        super().__init__()
        self.depth = 0
        self.values: list[torch.Tensor] = []
        self.lrs: list[float] = []
        self.maximizes = False
        scaler = torch.amp.GradScaler
        self.scalers = [one for one in gc.get_objects() if issubclass(type(one), scaler)]

    def _scale_of(self, root: torch.Tensor) -> float:
        """Return the factor by which a gradient scaler has multiplied this loss; 1 where none has."""
        factor = getattr(root.grad_fn, "_saved_other", None)
        if not isinstance(factor, torch.Tensor) or factor.numel() != 1:
            return 1.0
        scales = [float(one.get_scale()) for one in self.scalers if one.is_enabled()]
        return float(factor) if float(factor) in scales else 1.0

    def take(self) -> tuple[float | None, float | None]:
        """Return the sum of the roots and the highest learning rate since the last time, and begin anew."""
        loss = sum(float(value) for value in self.values) if self.values else None
        lr = max(self.lrs, default=None)
        self.values, self.lrs = [], []
        return loss, lr

    def before_step(self, optimizer: Any, /, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:  # noqa: ARG002 - the signature is the watcher's
        """See `taps.Watcher`."""
        for group in optimizer.param_groups:
            self.maximizes = self.maximizes or bool(group.get("maximize", False))
            if isinstance(group.get("lr"), int | float | torch.Tensor):
                self.lrs.append(float(group["lr"]))

    def before_backward(self, roots: Any) -> object:
        """See `taps.Watcher`."""
        self.depth += 1
        for root in [roots] if isinstance(roots, torch.Tensor) else list(roots):
            scalar = isinstance(root, torch.Tensor) and root.numel() == 1 and root.device.type != "meta"
            if scalar and self.depth == 1 and root.is_floating_point():
                self.values.append(root.detach().clone().reshape(()) / self._scale_of(root))
        return None

    def after_backward(self, token: object, error: BaseException | None) -> None:  # noqa: ARG002 - as above
        """See `taps.Watcher`."""
        self.depth -= 1


def undisturbed(modules: Mapping[str, nn.Module], function: Callable[[], Any], *, calm: bool = False) -> Any:
    """Call a function and put weights, buffers, gradients, modes and random streams back; `calm` turns dropout off."""
    memory = Memory(list(modules.values()))
    try:
        if calm:
            for dropout in dropouts(modules):
                dropout.training = False
        return function()
    finally:
        memory.restore()


def dropouts(modules: Mapping[str, nn.Module]) -> list[nn.Module]:
    """Return the dropout layers that are on."""
    kind = nn.modules.dropout._DropoutNd  # noqa: SLF001 - the common ancestor of all of them
    return [one for module in modules.values() for one in module.modules() if isinstance(one, kind) and one.training]


class LossLens(TorchFunctionMode):
    """Looks at the arguments of every loss function that is called while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.facts: list[dict[str, Any]] = []

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        name = str(getattr(func, "__name__", func))
        if (name in _LOSSES or name in _MINUS) and len(self.facts) < _KEPT:
            try:
                self._look(name, args, kwargs, result)
            except Exception:  # noqa: BLE001 - facts are worth having, not more
                return result
        return result

    def _look(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> None:
        prediction = args[0] if args else kwargs.get("input")
        target = args[1] if len(args) > 1 else kwargs.get("target")
        if not isinstance(prediction, torch.Tensor) or not isinstance(target, torch.Tensor):
            return
        if name in _MINUS:
            if not _spreads(prediction, target):
                return
            if target.requires_grad and not prediction.requires_grad:
                prediction, target = target, prediction
        with torch._C.DisableTorchFunction():  # noqa: SLF001 - our own arithmetic is not to be looked at
            self.facts.append(_facts(name, prediction, target, kwargs, result))


def _spreads(one: torch.Tensor, other: torch.Tensor) -> bool:
    """(N, 1) against (N,): broadcasting makes N x N of what were N pairs."""
    return one.dim() != other.dim() and one.numel() == other.numel() > 1 and one.shape[:1] == other.shape[:1]


def _grows(one: torch.Tensor, other: torch.Tensor) -> bool:
    count = 1
    for a, b in itertools.zip_longest(reversed(one.shape), reversed(other.shape), fillvalue=1):
        count *= max(int(a), int(b))
    return count > max(one.numel(), other.numel())


def _facts(
    name: str, prediction: torch.Tensor, target: torch.Tensor, kwargs: Mapping[str, Any], result: Any
) -> dict[str, Any]:
    wide = prediction.detach().double()
    mean = kwargs.get("reduction", "mean") == "mean" and name in _LOSSES
    rows = wide.reshape(len(wide), -1) if wide.dim() else wide.reshape(1, 1)
    classes = prediction.shape[1] if name in ("cross_entropy", "nll_loss") and prediction.dim() > 1 else None
    return {
        "name": name,
        "at": sites.here(),
        "regression": name in _REGRESSION,
        "broadcast": (name in _REGRESSION or name in _MINUS) and _grows(prediction, target),
        "prediction_shape": tuple(prediction.shape),
        "target_shape": tuple(target.shape),
        "activation": _activation(prediction),
        "probabilities": classes is not None and _sums_to_one(wide),
        "same_rows": len(rows) > 1 and float((rows - rows[0]).abs().max()) <= 1e-6 * float(rows.abs().max()),
        "spread": float(wide.std()) if wide.numel() > 1 else 0.0,
        "predicted": (float(wide.min()), float(wide.max())),
        "wanted": (float(target.min()), float(target.max())),
        "classes": classes,
        "chance": _chance(name, prediction, target, kwargs) if mean else None,
        "value": number_in(result),
    }


def _activation(prediction: torch.Tensor) -> str | None:
    """Name the bounded function that the prediction came out of, if nothing but a change of shape followed it."""
    node: Any = prediction.grad_fn
    while node is not None:
        kind = type(node).__name__
        if kind in _BOUNDED:
            return _BOUNDED[kind]
        if not kind.startswith(_SHAPING):
            return None
        node = node.next_functions[0][0] if node.next_functions else None
    return None


def _sums_to_one(wide: torch.Tensor) -> bool:
    if wide.shape[1] < 2 or bool((wide < 0).any()):  # noqa: PLR2004
        return False
    return bool(((wide.sum(1) - 1).abs() < 1e-3).all())  # noqa: PLR2004


def _chance(name: str, prediction: torch.Tensor, target: torch.Tensor, kwargs: Mapping[str, Any]) -> float | None:
    """Return the smallest loss of a prediction that is the same for every sample: an entropy, or a variance."""
    if kwargs.get("weight") is not None or kwargs.get("label_smoothing", 0.0):
        return None
    if name in ("cross_entropy", "nll_loss") and not target.is_floating_point():
        labels = target[target != kwargs.get("ignore_index", -100)].flatten()
        share = torch.bincount(labels).double() / max(1, labels.numel())
        return float(-(share * share.clamp(min=1e-30).log()).sum())
    if name == "mse_loss" and target.dim():
        return float(target.double().var(0, unbiased=False).mean())
    if name.startswith("binary_cross_entropy") and target.dim():
        share = target.double().mean(0)
        return float(-(share * share.clamp(min=1e-30).log() + (1 - share) * (1 - share).clamp(min=1e-30).log()).mean())
    return None


@contextmanager
def looked_at() -> Iterator[list[dict[str, Any]]]:
    """Collect the facts about every call of a loss function in the block."""
    with LossLens() as lens:
        yield lens.facts


def units_alike(modules: Mapping[str, nn.Module]) -> tuple[str, ...]:
    """Return the weights of which all units (rows) are the same, and not zero: hidden units that are copies of one."""
    found = []
    for prefix, module in modules.items():
        for name, tensor in module.named_parameters(prefix=prefix):
            values = tensor.detach()
            if values.dim() < 2 or values.shape[0] < 2 or not values.numel() or values.device.type == "meta":  # noqa: PLR2004
                continue
            largest = float(values.abs().max())
            if largest and math.isfinite(largest) and float((values - values[:1]).abs().max()) <= 1e-6 * largest:
                found.append(name)
    return tuple(found)


def asked(loss_fn: Any) -> float:
    """Call the user's `loss_fn` and read its number.

    Raises:
        TrainStepUsageError: It is not callable, or returns no single number.
    """
    if not callable(loss_fn):
        msg = f"loss_fn must be callable without arguments, not {type(loss_fn).__name__}: pass the function, not its result"
        raise TrainStepUsageError(msg)
    value = loss_fn()
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    found = float(value) if whole else number_in(value)
    if found is None:
        kind = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else type(value).__name__
        msg = f"loss_fn must return a single number (a scalar tensor, a float), not {kind}"
        raise TrainStepUsageError(msg)
    return found


def look_once_more(
    modules: Mapping[str, nn.Module], optimizers: Sequence[Any], step_fn: Callable[[], object]
) -> tuple[str | None, list[dict[str, Any]]]:
    """Run the step once more and look at its loss functions; everything is put back. Says why if it could not."""
    if any(hasattr(inner, "_orig_mod") for module in modules.values() for inner in module.modules()):
        return None, []  # compiled code does not pass through the lens
    memory = Memory(list(modules.values()), optimizers)
    lens = LossLens()
    try:
        with warnings.catch_warnings(), taps.muted(), lens:
            warnings.simplefilter("ignore")
            step_fn()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - StopIteration, pytest.fail ...: the first runs are what counts
        return f"the step could not be run once more to look closer: {type(error).__name__}", lens.facts
    finally:
        memory.restore()
    return None, lens.facts
