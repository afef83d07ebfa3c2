"""The strategies for everything together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hypothesis import event, reject
from hypothesis import strategies as st
from hypothesis.errors import InvalidArgument

from pytest_trainstep.strategies import _draws
from pytest_trainstep.strategies._batches import Batch, DrawnLoss
from pytest_trainstep.strategies._margins import Margins, margins
from pytest_trainstep.strategies._optimizers import OPTIMIZERS, Traits
from pytest_trainstep.strategies._parts import devices as any_devices
from pytest_trainstep.strategies._parts import dtype_name, spec_of
from pytest_trainstep.strategies._setup import TrainingSetup
from pytest_trainstep.strategies._specs import LossSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch
    from hypothesis.strategies import DrawFn, SearchStrategy
    from torch import nn

    from pytest_trainstep.strategies._devices import Device
    from pytest_trainstep.strategies._specs import ModelSpec, OptimizerSpec, SchedulerSpec

ANY_MODEL = _draws.ModelDraw()


@dataclass(frozen=True)
class Choices:
    """Where each part of a set-up comes from; ``None`` is the whole choice."""

    models: SearchStrategy[nn.Module] | None = None
    optimizers: SearchStrategy[OptimizerSpec] | None = None
    schedulers: SearchStrategy[SchedulerSpec | None] | None = None
    losses: SearchStrategy[nn.Module] | None = None
    learning_rates: SearchStrategy[float] | None = None
    devices: SearchStrategy[Device] | None = None
    dtypes: SearchStrategy[torch.dtype] | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and not isinstance(value, st.SearchStrategy):
                raise InvalidArgument(f"Expected a strategy but got {name}={value!r} (type={type(value).__name__})")
        if self.models is not None and self.dtypes is not None:
            raise InvalidArgument("Expected models= or dtypes=, not both: the dtype is the model's")

    def draw(self, draw: DrawFn) -> TrainingSetup:
        """Draw a set-up in which a correct step moves every trainable parameter."""
        spec, optimizer = self._model_and_optimizer(draw)
        loss = self._loss(draw)
        size, kind, seed = draw(_draws.SIZE), draw(_draws.KINDS), draw(_draws.BATCH_SEEDS)
        strided, fitted = kind == "strided", kind == "fitted" and _draws.can_be_fitted(spec, loss, optimizer.name)
        rate = draw(_draws.ANY_RATE if self.learning_rates is None else self.learning_rates)
        batch = Batch(spec, loss, size, strided, fitted, seed)
        spec, within, lr = self._judged(batch, rate, OPTIMIZERS[optimizer.name])
        if not within.decays or lr * optimizer.weight_decay > 0.5:  # noqa: PLR2004
            optimizer = replace(optimizer, weight_decay=0.0)  # it could cancel a gradient or wipe a weight out
        scheduler = draw(_draws.NO_SCHEDULER if self.schedulers is None else self.schedulers)
        device = draw(ANY_DEVICE if self.devices is None else self.devices)
        if optimizer.fused and device.simulation == "strict":
            optimizer = replace(optimizer, fused=None)  # there is no kernel for it
        event(f"dtype: {spec.dtype}")
        return TrainingSetup(
            model=spec,
            optimizer=optimizer,
            scheduler=scheduler,
            loss=loss,
            lr=lr,
            batch_size=size,
            strided=strided,
            fitted=fitted,
            device=device,
            seed=seed,
        )

    def _model_and_optimizer(self, draw: DrawFn) -> tuple[ModelSpec, OptimizerSpec]:
        bias = draw(_draws.BIASES)
        if self.optimizers is not None:
            optimizer = draw(self.optimizers)
            spec = self._model(draw, optimizer.name, bias=bias)
        else:
            # Muon takes models of matrices only, and can be drawn only where the model is still open. It does not turn
            # the bias off: what fails for want of a bias would not shrink to another optimizer.
            name = draw(_draws.ANY_NAME if self.models is None else _draws.MOST_NAMES)
            name = "AdamW" if bias and name == _draws.MUON else name
            spec = self._model(draw, name, bias=bias)
            optimizer = _draws.draw_optimizer(draw, name, spec)
        if not _draws.applies(optimizer.name, spec):
            reject()
        return spec, optimizer

    def _model(self, draw: DrawFn, optimizer: str, *, bias: bool) -> ModelSpec:
        if self.models is not None:
            return spec_of(draw(self.models))
        traits = OPTIMIZERS[optimizer]
        if self.dtypes is None:
            dtype = draw(_draws.ANY_DTYPE if traits.low_precision else _draws.WIDE_DTYPE)
        else:
            dtype = dtype_name(draw(self.dtypes))
        bias = bias and not traits.matrices_only
        return ANY_MODEL(draw, dtype, bias=bias, matrices=traits.matrices_only)

    def _loss(self, draw: DrawFn) -> LossSpec:
        if self.losses is None:
            return LossSpec(draw(_draws.LOSS), draw(_draws.REDUCTIONS))
        loss = draw(self.losses)
        if not isinstance(loss, DrawnLoss):
            raise InvalidArgument(f"Expected a loss drawn from losses() but got {loss!r}")
        return loss.spec

    def _judged(self, batch: Batch, rate: float, traits: Traits) -> tuple[ModelSpec, Margins, float]:
        """Return the model, its margins and a rate within them, in another dtype if that is open and helps."""
        for one in self._in_each_dtype(batch, rate):
            within = margins(one)
            lr = self._rate(rate, one.model.dtype, within, traits)
            if lr is not None:
                return one.model, within, lr
        return reject()

    def _in_each_dtype(self, batch: Batch, rate: float) -> Iterator[Batch]:
        dtype = batch.model.dtype
        is_open = self.models is None and self.dtypes is None
        if is_open and dtype == "float32" and rate < _draws.RESOLUTION[dtype]:
            yield replace(batch, model=replace(batch.model, dtype="float64"))  # tiny rates would be too seldom
        yield batch
        if is_open and dtype.endswith("16"):
            yield replace(batch, model=replace(batch.model, dtype="float32"))  # costs half as much as another draw

    def _rate(self, rate: float, dtype: str, within: Margins, traits: Traits) -> float | None:
        smallest = within.smallest(proportional=traits.proportional, reach=traits.reach)
        if self.learning_rates is not None:
            return rate if smallest <= rate <= within.largest else None
        return _draws.rate_between(rate, max(smallest, _draws.RESOLUTION[dtype]), within.largest)


ANY_DEVICE = any_devices()


def training_setups(  # noqa: PLR0913  # many arguments, but all with defaults
    *,
    models: SearchStrategy[nn.Module] | None = None,
    optimizers: SearchStrategy[OptimizerSpec] | None = None,
    schedulers: SearchStrategy[SchedulerSpec | None] | None = None,
    losses: SearchStrategy[nn.Module] | None = None,
    learning_rates: SearchStrategy[float] | None = None,
    devices: SearchStrategy[Device] | None = None,
    dtypes: SearchStrategy[torch.dtype] | None = None,
) -> SearchStrategy[TrainingSetup]:
    """Everything one training step needs: model, optimizer, batch, loss, learning rate and device, ready to use.

    In every drawn set-up a correct step moves every trainable parameter: no unit is dead, and no update is lost to
    rounding. A set-up prints as the code that makes it, without what is ordinary. Shrinks towards
    ``TrainingSetup()``: one linear layer, SGD at 0.1, the mean squared error, two samples, the CPU.

    Args:
        models: Where models come from, ``models()`` in the main.
        optimizers: Where optimizers come from.
        schedulers: Where schedulers come from; by default few set-ups have one.
        losses: Where losses come from.
        learning_rates: Where learning rates come from; those too small or too large to be judged are rejected.
        devices: Where devices come from.
        dtypes: Where the dtype of the model comes from; not together with ``models``.

    Raises:
        InvalidArgument: At draw time, if something is not a strategy, or ``models`` and ``dtypes`` are both given.

    Example:
        >>> @given(setup=training_setups())
        ... def test_my_step_updates_any_model(setup):
        ...     assert_weights_update(
        ...         setup.model,
        ...         lambda: my_step(setup.model, setup.optimizer, setup.inputs, setup.targets, setup.loss_fn),
        ...     )
    """
    made: list[Choices] = []

    @st.composite
    def drawn(draw: DrawFn) -> TrainingSetup:
        if not made:
            made.append(Choices(models, optimizers, schedulers, losses, learning_rates, devices, dtypes))
        return made[0].draw(draw)

    return drawn()
