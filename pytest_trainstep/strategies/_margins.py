"""How small a learning rate still moves every parameter of a set-up: measured before it is used."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import torch

from pytest_trainstep.strategies._models import Drawn, build_model

if TYPE_CHECKING:
    from torch import nn

    from pytest_trainstep.strategies._batches import Batch
    from pytest_trainstep.strategies._specs import ModelSpec

MARGIN = 8.0  # a correct step may halve the rate, average over parts of the batch, or clip
FAINT = 0.02  # below this the square of a gradient gets lost in float16, and Adam divides by zero
DECAY = 0.1  # the strongest weight decay that is drawn
LARGEST_HALF = 1e5  # what float16 cannot reach, and bfloat16 can
STEEP = 1e3  # above this an update may overflow float16


class Margins(NamedTuple):
    """The smallest learning rates that surely move every parameter, and the largest that overflows none."""

    proportional: float  # if the update is the rate times the gradient
    normalised: float  # if the update is the rate times one, in the direction of the gradient
    largest: float
    decays: bool  # whether weight decay leaves at least half of some gradient in each

    def smallest(self, *, proportional: bool, reach: float) -> float:
        """Return the smallest rate for an optimizer of that kind, and for the user's own SGD or Adam, too."""
        own = (self.proportional if proportional else self.normalised) / reach
        return max(self.proportional, self.normalised, own)


SPARE: list[Drawn] = []
"""The model that was measured last, as good as new."""


def model_of(spec: ModelSpec) -> nn.Module:
    """Return a new model: the one that was just measured, if it is of this spec, or one more."""
    spare = SPARE.pop() if SPARE else None
    return spare if spare is not None and spare.spec == spec else spec.build()


NONE = Margins(math.inf, math.inf, 0.0, decays=False)


@lru_cache(maxsize=1024)
def margins(batch: Batch) -> Margins:
    """Return the margins of a model, a loss and a batch; where they are empty, the set-up cannot be judged."""
    model, (inputs, targets) = build_model(batch.model), batch
    batch.loss.build()(model(inputs), targets).backward()
    measured = _margins_of(model)
    if next(model.buffers(), None) is None:  # nothing in it has changed: it may serve as the set-up's own
        model.zero_grad()
        SPARE[:] = [model]
    return measured


def _margins_of(model: nn.Module) -> Margins:
    weights, grads = [], []
    for parameter in model.parameters():
        if parameter.requires_grad:
            if parameter.grad is None:
                return NONE
            weights.append(parameter.detach())
            grads.append(parameter.grad)
    return measured(weights, grads)


def measured(weights: list[torch.Tensor], grads: list[torch.Tensor]) -> Margins:
    """Return the margins of some parameters and their gradients."""
    info = torch.finfo(weights[0].dtype)
    norm = math.hypot(*(torch.linalg.vector_norm(grad, dtype=_wide(grad)).item() for grad in grads))
    if not math.isfinite(norm) or norm > STEEP:
        return NONE
    proportional = normalised = 0.0
    for weight, grad in zip(weights, grads, strict=True):
        size, slope = weight.abs(), grad.abs()
        if info.max < LARGEST_HALF and slope.min() < FAINT * max(1.0, norm):
            return NONE
        if not slope.max() > STEEP * info.tiny:
            return NONE
        ratio = (size / slope).nan_to_num_(nan=math.inf, posinf=math.inf)
        proportional = max(proportional, ratio.min().item())
        normalised = max(normalised, torch.where(slope > 0, size, math.inf).min().item())
    proportional *= max(1.0, norm)  # the gradients may be clipped to a norm of one
    unit = MARGIN * info.eps
    decays = proportional * DECAY < 0.5  # noqa: PLR2004
    return Margins(unit * proportional, unit * normalised, info.max / (16 * STEEP), decays)


def _wide(grad: torch.Tensor) -> torch.dtype:
    return torch.complex128 if grad.is_complex() else torch.float64
