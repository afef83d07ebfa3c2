"""How small a learning rate still moves every parameter of a set-up: measured before it is used."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from pytest_trainstep.strategies._models import build_model

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


SPARES: dict[object, Any] = {}
"""What was built to be measured last, as good as new, by what it was built from."""


def model_of(spec: ModelSpec) -> nn.Module:
    """Return a new model: the one that was just measured, if it is of this spec, or one more."""
    spare: nn.Module | None = SPARES.pop(spec, None)
    return spec.build() if spare is None else spare


def batch_of(batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Return new inputs and targets: those with which was just measured, or others."""
    spare: tuple[torch.Tensor, torch.Tensor] | None = SPARES.pop(batch, None)
    return batch.build() if spare is None else spare


NONE = Margins(math.inf, math.inf, 0.0, decays=False)


@lru_cache(maxsize=1024)
def margins(batch: Batch) -> Margins:
    """Return the margins of a model, a loss and a batch; where they are empty, the set-up cannot be judged."""
    model = build_model(batch.model)
    inputs, targets = batch.build(model)
    batch.loss.build()(model(inputs), targets).backward()
    measured = _margins_of(model)
    SPARES.clear()
    if measured is not NONE:
        SPARES[batch] = (inputs, targets)
        if "batch_norm" not in batch.model.layers:  # its statistics have changed
            SPARES[batch.model] = model
    return measured


def _margins_of(model: nn.Module) -> Margins:
    weights, grads = [], []
    for parameter in model.parameters():
        if parameter.requires_grad:
            if parameter.grad is None:
                return NONE
            weights.append(parameter.detach())
            grads.append(parameter.grad)
            parameter.grad = None
    return measured(weights, grads)


def measured(weights: list[torch.Tensor], grads: list[torch.Tensor]) -> Margins:
    """Return the margins of some parameters and their gradients."""
    info = torch.finfo(weights[0].dtype)
    # All at once: most of the time goes into calling torch.
    sizes, slopes = ([value.abs().flatten() for value in values] for values in (weights, grads))
    size, slope = torch.cat(sizes), torch.cat(slopes)
    norm = torch.linalg.vector_norm(slope, dtype=torch.float64).item()
    if not math.isfinite(norm) or norm > STEEP:
        return NONE
    if info.max < LARGEST_HALF and slope.min() < FAINT * max(1.0, norm):
        return NONE
    if not torch.stack([values.max() for values in slopes]).min() > STEEP * info.tiny:
        return NONE
    ratio = (size / slope).nan_to_num_(nan=math.inf, posinf=math.inf)
    pushed = torch.where(slope > 0, size, math.inf)
    counts = [len(values) for values in sizes]
    proportional, normalised = (
        torch.stack([values.min() for values in torch.split(whole, counts)]).max().item() for whole in (ratio, pushed)
    )
    proportional *= max(1.0, norm)  # the gradients may be clipped to a norm of one
    unit = MARGIN * info.eps
    decays = proportional * DECAY < 0.5  # noqa: PLR2004
    return Margins(unit * proportional, unit * normalised, info.max / (16 * STEEP), decays)
