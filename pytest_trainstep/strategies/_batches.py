"""Batches and losses: inputs away from zero, targets out of the model's reach, so that no gradient vanishes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pytest_trainstep.strategies._layers import STEMS
from pytest_trainstep.strategies._models import OUTPUTS, Drawn, build_model
from pytest_trainstep.strategies._specs import LossSpec, ModelSpec, Printed

if TYPE_CHECKING:
    from collections.abc import Iterator

LOSSES = ("MSELoss", "SmoothL1Loss", "HuberLoss", "L1Loss", "CrossEntropyLoss", "BCEWithLogitsLoss")
"""The losses by name, from the ordinary to the exotic."""
REGRESSION = frozenset({"MSELoss", "SmoothL1Loss", "HuberLoss"})
"""Those whose gradients become small where the outputs are close to the targets."""


class DrawnLoss(nn.Module):
    """A loss that prints as the code that makes it."""

    spec: LossSpec

    def __repr__(self) -> str:
        return f"{self.spec!r}.build()"


class MSELoss(DrawnLoss, nn.MSELoss): ...


class SmoothL1Loss(DrawnLoss, nn.SmoothL1Loss): ...


class HuberLoss(DrawnLoss, nn.HuberLoss): ...


class L1Loss(DrawnLoss, nn.L1Loss): ...


class CrossEntropyLoss(DrawnLoss, nn.CrossEntropyLoss): ...


class BCEWithLogitsLoss(DrawnLoss, nn.BCEWithLogitsLoss): ...


def build_loss(spec: LossSpec) -> DrawnLoss:
    """Return a new live loss."""
    loss: DrawnLoss = globals()[spec.name](reduction=spec.reduction)
    loss.spec = spec
    return loss


@dataclass(frozen=True, eq=True, repr=False)
class Batch(Printed):
    """Inputs and targets for a drawn model and a loss; ``inputs, targets = batch`` takes it apart.

    Args:
        model: The spec of the model that reads it.
        loss: The spec of the loss that reads its targets.
        size: How many samples it has.
        strided: Whether its inputs are a non-contiguous view.
        fitted: Whether the model has almost learnt it: the targets are close to the outputs, loss and gradients small
            (regression in float32 and float64 only).
        seed: What its values are drawn from.

    Example:
        >>> inputs, targets = Batch(ModelSpec(), size=3)
    """

    model: ModelSpec = field(default_factory=ModelSpec)
    loss: LossSpec = field(default_factory=LossSpec)
    size: int = 2
    strided: bool = False
    fitted: bool = False
    seed: int = 0

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.build())

    @property
    def inputs(self) -> Tensor:
        """New inputs, equal every time."""
        return self.build()[0]

    @property
    def targets(self) -> Tensor:
        """New targets, equal every time."""
        return self.build()[1]

    def build(self, model: Drawn | None = None) -> tuple[Tensor, Tensor]:
        """Return new inputs and targets, on the CPU; ``model`` is asked what it gives, if there is one already."""
        generator = torch.Generator().manual_seed(self.seed)
        inputs = _inputs(self.model, self.size, generator)
        if self.strided:
            inputs = inputs.transpose(0, -1).contiguous().transpose(0, -1)
        if self.fitted:
            return inputs, _near_targets(build_model(self.model) if model is None else model, inputs, generator)
        return inputs, _targets(self.loss, self.size, getattr(torch, self.model.dtype), generator)


def _inputs(model: ModelSpec, size: int, generator: torch.Generator) -> Tensor:
    kind = STEMS[model.layers[0]][0] if model.layers and model.layers[0] in STEMS else "features"
    if kind == "tokens":
        tokens = torch.randint(0, 4, (size, 5), generator=generator)
        tokens[0, :4] = torch.arange(4)  # every row of the embedding is read
        return tokens
    width = model.width
    shape = {"features": (width,), "sequence": (3, width), "series": (2, 4), "image": (2, 3, 3)}[kind]
    dtype = getattr(torch, model.dtype)
    inputs = torch.empty((size, *shape), dtype=dtype).uniform_(0.5, 1.5, generator=generator)
    if dtype in {torch.float32, torch.float64}:  # in 16 bits all are positive, so that nothing cancels out
        signs = torch.empty(shape, dtype=dtype).uniform_(-1, 1, generator=generator).sign_()
        inputs *= signs
        if size > 2:  # noqa: PLR2004  # one sample in three or more goes against the others
            inputs[-1] *= -0.5
    return inputs


def _near_targets(model: Drawn, inputs: Tensor, generator: torch.Generator) -> Tensor:
    with torch.no_grad():
        outputs: Tensor = model(inputs)
    near = torch.empty(OUTPUTS, dtype=outputs.dtype).uniform_(-1, 1, generator=generator)
    return outputs + NEAR * (near.sign() + near)


NEAR = 1e-3


def _targets(loss: LossSpec, size: int, dtype: torch.dtype, generator: torch.Generator) -> Tensor:
    if loss.name == "CrossEntropyLoss":
        wanted = torch.randint(0, OUTPUTS, (1,), generator=generator)
        return wanted.repeat(size)
    if loss.name == "BCEWithLogitsLoss":
        wanted = torch.randint(0, 2, (1, OUTPUTS), generator=generator)
        return wanted.to(dtype).repeat(size, 1)
    far = torch.empty((size, OUTPUTS), dtype=dtype).uniform_(2.0, 4.0, generator=generator)
    if dtype in {torch.float32, torch.float64}:
        far *= torch.empty(OUTPUTS, dtype=dtype).uniform_(-1, 1, generator=generator).sign_()
    return far
