"""Set-ups around a model class of the user's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

import torch
from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.errors import InvalidArgument
from torch import Tensor, nn

from pytest_trainstep.strategies import _draws
from pytest_trainstep.strategies._devices import Device
from pytest_trainstep.strategies._live import seeded
from pytest_trainstep.strategies._optimizers import OPTIMIZERS
from pytest_trainstep.strategies._parts import devices as any_devices
from pytest_trainstep.strategies._parts import learning_rates as any_rates
from pytest_trainstep.strategies._setup import Live
from pytest_trainstep.strategies._specs import OptimizerSpec, Printed, SchedulerSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hypothesis.strategies import DrawFn, SearchStrategy

Inputs = tuple[int, ...] | Callable[[int, torch.Generator], Any]
Targets = Callable[[Any, torch.Generator], Any]


class Name:
    """Prints as the name by which code refers to a function or a class."""

    def __init__(self, value: Any) -> None:  # noqa: ANN401  # any callable
        self.value = value

    def __repr__(self) -> str:
        return getattr(self.value, "__qualname__", None) or repr(self.value)


@dataclass(frozen=True, repr=False)
class FactoryParts(Printed):
    """The arguments of a ``FactorySetup``, as they print."""

    factory: Callable[[], nn.Module] = field(metadata={"positional": True})
    inputs: Inputs = (1,)
    loss: Callable[[Any, Any], Tensor] = field(default_factory=nn.MSELoss)
    targets: Targets | None = None
    optimizer: OptimizerSpec = field(default_factory=OptimizerSpec)
    scheduler: SchedulerSpec | None = None
    lr: float = 0.1
    batch_size: int = 2
    device: Device = field(default_factory=Device)
    seed: int = 0

    def _arguments(self) -> Iterator[tuple[str, object]]:
        yield "", Name(self.factory)
        for place in fields(self)[1:]:
            value = getattr(self, place.name)
            default = place.default if place.default_factory is MISSING else place.default_factory()
            if place.name in {"inputs", "loss"} or value != default:
                yield place.name, Name(value) if callable(value) and not isinstance(value, Printed) else value

    def build_model(self) -> nn.Module:
        """Return a new model of the user's, on the CPU; the global stream of torch is put back."""
        return seeded(self.seed, self.factory)

    def build_loss(self) -> Callable[[Any, Any], Tensor]:
        """Return the user's loss."""
        return self.loss

    def build_batch(self) -> tuple[Any, Any]:
        """Return new inputs and targets, on the CPU."""
        generator = torch.Generator().manual_seed(self.seed)
        if callable(self.inputs):
            inputs = self.inputs(self.batch_size, generator)
        else:
            inputs = torch.empty((self.batch_size, *self.inputs)).uniform_(-1.5, 1.5, generator=generator)
        with torch.no_grad():
            outputs = seeded(self.seed, lambda: self.factory()(inputs))
        return inputs, (self.targets or self._far_targets)(outputs, generator)

    def _far_targets(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        if isinstance(self.loss, nn.CrossEntropyLoss | nn.NLLLoss):
            return torch.randint(0, outputs.shape[1], outputs[:, 0].shape, generator=generator)
        if isinstance(self.loss, nn.BCEWithLogitsLoss | nn.BCELoss):
            return torch.randint(0, 2, outputs.shape, generator=generator).to(outputs.dtype)
        return outputs + torch.empty_like(outputs).uniform_(2.0, 4.0, generator=generator)


class FactorySetup(Live):
    """A training set-up around a model of the user's own, printed as the code that makes it.

    Args:
        factory: What makes the model: its class, or a function without arguments.
        inputs: The shape of one sample, or a function of a batch size and a generator that returns inputs.
        loss: The loss: ``loss(outputs, targets)``.
        targets: A function of outputs and a generator that returns targets.
        optimizer: The spec of the optimizer.
        scheduler: The spec of the scheduler, if any.
        lr: The learning rate.
        batch_size: How many samples the batch has.
        device: Where model and batch are.
        seed: What the model and the batch are drawn from.

    Example:
        >>> setup = FactorySetup(MyModel, inputs=(3,), loss=nn.MSELoss(), lr=0.001)
    """

    def __init__(  # noqa: PLR0913  # many arguments, but all with defaults
        self,
        factory: Callable[[], nn.Module],
        *,
        inputs: Inputs,
        loss: Callable[[Any, Any], Tensor],
        targets: Targets | None = None,
        optimizer: OptimizerSpec = OptimizerSpec(),  # noqa: B008  # a frozen value
        scheduler: SchedulerSpec | None = None,
        lr: float = 0.1,
        batch_size: int = 2,
        device: str = "cpu",
        seed: int = 0,
    ) -> None:
        where = device if isinstance(device, Device) else Device(device)
        super().__init__(
            FactoryParts(factory, inputs, loss, targets, optimizer, scheduler, lr, batch_size, where, seed)
        )


def setups_for(  # noqa: PLR0913  # many arguments, but all with defaults
    factory: Callable[[], nn.Module],
    *,
    inputs: Inputs,
    loss: Callable[[Any, Any], Tensor],
    targets: Targets | None = None,
    optimizers: SearchStrategy[OptimizerSpec] | None = None,
    learning_rates: SearchStrategy[float] | None = None,
    devices: SearchStrategy[Device] | None = None,
    min_size: int = 1,
) -> SearchStrategy[FactorySetup]:
    """Training set-ups around a model class of your own: optimizer, batch, learning rate and device vary.

    Whether a correct step can move all of its parameters is up to the model: nothing is held back.

    Args:
        factory: What makes the model: its class, or a function without arguments.
        inputs: The shape of one sample, as in ``(3, 8, 8)``; or a function of a batch size and a ``torch.Generator``
            that returns inputs.
        loss: The loss: ``loss(outputs, targets)``.
        targets: A function of the model's outputs and a generator that returns targets; by default classes for the
            losses of classes, and values out of reach for all others.
        optimizers: Where optimizers come from; by default all that need no closure.
        learning_rates: Where learning rates come from; by default from 1e-4 to 1.
        devices: Where devices come from; ``devices()`` by default.
        min_size: At least so many samples; 2 for models with a batch norm.

    Raises:
        InvalidArgument: At draw time, if an argument makes no sense.

    Example:
        >>> @given(setup=setups_for(MyModel, inputs=(3, 8, 8), loss=nn.CrossEntropyLoss()))
        ... def test_my_step_trains_my_model(setup): ...
    """

    @st.composite
    def drawn(draw: DrawFn) -> FactorySetup:
        _check(factory, inputs, loss)
        name = draw(_draws.MOST_NAMES)
        optimizer = _draws.draw_optimizer(draw, name, None) if optimizers is None else draw(optimizers)
        lr = draw(any_rates(1e-4, 1.0) if learning_rates is None else learning_rates)
        size = draw(st.sampled_from(sorted({max(size, min_size) for size in _draws.SIZES}, key=_ordinary)))
        device = draw(any_devices() if devices is None else devices)
        if optimizer.fused and device.simulation == "strict":
            optimizer = replace(optimizer, fused=None)  # there is no kernel for it
        assume(OPTIMIZERS[optimizer.name].reach * lr > 1e-6)  # noqa: PLR2004  # below, float32 may round it away
        return FactorySetup(
            factory,
            inputs=inputs,
            loss=loss,
            targets=targets,
            optimizer=optimizer,
            lr=lr,
            batch_size=size,
            device=device,
            seed=draw(_draws.MODEL_SEEDS),
        )

    return drawn()


def _ordinary(size: int) -> int:
    return _draws.SIZES.index(size) if size in _draws.SIZES else len(_draws.SIZES)


def _check(factory: object, inputs: object, loss: object) -> None:
    for name, value in {"factory": factory, "loss": loss}.items():
        if not callable(value) or isinstance(value, st.SearchStrategy):
            raise InvalidArgument(f"Expected something to call but got {name}={value!r} (type={type(value).__name__})")
    if isinstance(factory, nn.Module):
        raise InvalidArgument(
            f"Expected what makes a model but got factory={type(factory).__name__}(...), a model; pass its class, or "
            "a function that makes a new one"
        )
    shape = isinstance(inputs, tuple) and all(isinstance(size, int) and size > 0 for size in inputs)
    if not shape and (not callable(inputs) or isinstance(inputs, st.SearchStrategy)):
        raise InvalidArgument(
            f"Expected the shape of one sample, or a function of a size and a generator, but got {inputs=}"
        )
