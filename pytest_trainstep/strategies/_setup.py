"""Everything one training step needs: specs that print as code, and the live parts that are built from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import torch
from hypothesis import currently_in_test_context
from torch import Tensor, nn

from pytest_trainstep.strategies._batches import Batch
from pytest_trainstep.strategies._devices import Device
from pytest_trainstep.strategies._live import at_end
from pytest_trainstep.strategies._margins import batch_of, model_of
from pytest_trainstep.strategies._specs import LossSpec, ModelSpec, OptimizerSpec, Printed, SchedulerSpec

if TYPE_CHECKING:
    from torch.optim.lr_scheduler import LRScheduler

T = TypeVar("T")


@dataclass(frozen=True, repr=False)
class Parts(Printed):
    """The arguments of a ``TrainingSetup``, as they print."""

    model: ModelSpec = field(default_factory=ModelSpec)
    optimizer: OptimizerSpec = field(default_factory=OptimizerSpec)
    scheduler: SchedulerSpec | None = None
    loss: LossSpec = field(default_factory=LossSpec)
    lr: float = 0.1
    batch_size: int = 2
    strided: bool = False
    fitted: bool = False
    device: Device = field(default_factory=Device)
    seed: int = 0

    @property
    def batch(self) -> Batch:
        """The batch for this model and this loss."""
        return Batch(self.model, self.loss, self.batch_size, self.strided, self.fitted, self.seed)

    def build_model(self) -> nn.Module:
        """Return a new live model, on the CPU."""
        return model_of(self.model)

    def build_loss(self) -> Callable[[Any, Any], Tensor]:
        """Return a new live loss."""
        return self.loss.build()

    def build_batch(self) -> tuple[Any, Any]:
        """Return new inputs and targets, on the CPU."""
        return batch_of(self.batch)


class SetupParts(Protocol):
    """What a live set-up is built from."""

    @property
    def optimizer(self) -> OptimizerSpec: ...
    @property
    def scheduler(self) -> SchedulerSpec | None: ...
    @property
    def lr(self) -> float: ...
    @property
    def device(self) -> Device: ...

    def build_model(self) -> nn.Module:
        """Return a new live model, on the CPU."""

    def build_loss(self) -> Callable[[Any, Any], Tensor]:
        """Return a live loss."""

    def build_batch(self) -> tuple[Any, Any]:
        """Return new inputs and targets, on the CPU."""


class Live:
    """The live parts of a set-up: built when first asked for, forgotten when the execution of the test ends.

    An object that is pasted into ``@example(...)`` is given to every execution of the test; what was trained in one
    is not seen by the next.
    """

    def __init__(self, parts: SetupParts) -> None:
        self.parts = parts
        self._built: dict[str, Any] = {}
        self._ends = False  # whether what is built belongs to an execution that will end

    def __repr__(self) -> str:
        # Printing a device starts its simulation; and an `@example` is printed before the body of the test.
        return repr(self.parts).replace(type(self.parts).__name__, type(self).__name__, 1)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Live) and self.parts == other.parts

    def __hash__(self) -> int:
        return hash(self.parts)

    @property
    def lr(self) -> float:
        """The learning rate."""
        return self.parts.lr

    @property
    def device(self) -> Device:
        """The device; if it is simulated, its simulation runs from here to the end of the example."""
        return self._built_once("device", self._start_device)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the model's parameters."""
        return next(self.model.parameters()).dtype

    @property
    def model(self) -> nn.Module:
        """The model, on the device."""

        def build() -> nn.Module:
            model: nn.Module = self._on_device(self.parts.build_model())
            return model

        return self._built_once("model", build)

    @property
    def loss_fn(self) -> Callable[[Any, Any], Tensor]:
        """The loss: ``loss_fn(outputs, targets)``."""
        return self._built_once("loss_fn", self.parts.build_loss)

    @property
    def inputs(self) -> Any:  # noqa: ANN401  # what the user's model takes
        """The inputs, on the device."""
        return self._batch[0]

    @property
    def targets(self) -> Any:  # noqa: ANN401
        """The targets, on the device."""
        return self._batch[1]

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The optimizer of the model; where the set-up has a scheduler, it is in force."""
        return self._optimization[0]

    @property
    def scheduler(self) -> LRScheduler | None:
        """The scheduler of the optimizer, if any."""
        return self._optimization[1]

    def build_model(self) -> nn.Module:
        """Return one more live model, on the CPU, for steps that bring it to the device themselves."""
        return self.parts.build_model()

    @property
    def _batch(self) -> tuple[Any, Any]:
        def build() -> tuple[Any, Any]:
            inputs, targets = self.parts.build_batch()
            return self._on_device(inputs), self._on_device(targets)

        return self._built_once("batch", build)

    @property
    def _optimization(self) -> tuple[torch.optim.Optimizer, LRScheduler | None]:
        def build() -> tuple[torch.optim.Optimizer, LRScheduler | None]:
            optimizer = self.parts.optimizer(self.model, self.parts.lr)
            scheduler = self.parts.scheduler
            return optimizer, None if scheduler is None else scheduler(optimizer)

        return self._built_once("optimization", build)

    def _start_device(self) -> Device:
        self.parts.device.start()
        return self.parts.device

    def _on_device(self, value: Any) -> Any:  # noqa: ANN401  # a module, a tensor, or what the user's model takes
        # On the CPU nothing moves: a simulation that replaces parameters would untie those that are shared.
        return value if self.device == "cpu" or not hasattr(value, "to") else value.to(self.device)

    def _built_once(self, name: str, build: Callable[[], T]) -> T:
        if currently_in_test_context() and not self._ends:
            self._forget()  # what was built outside of the test
            self._ends = at_end(self._forget)
        if name not in self._built:
            self._built[name] = build()
        built: T = self._built[name]
        return built

    def _forget(self) -> None:
        self._built = {}
        self._ends = False


class TrainingSetup(Live):
    """Everything one training step needs, ready to use, printed as the code that makes it.

    What is not given is ordinary: a linear layer from three features to two outputs, SGD with a learning rate of 0.1,
    the mean squared error, a batch of two, the CPU.

    Args:
        model: The spec of the model.
        optimizer: The spec of the optimizer.
        scheduler: The spec of the scheduler, if any.
        loss: The spec of the loss.
        lr: The learning rate.
        batch_size: How many samples the batch has.
        strided: Whether the inputs are a non-contiguous view.
        fitted: Whether the model has almost learnt the batch: loss and gradients are small.
        device: Where model and batch are.
        seed: What the batch is drawn from.

    Example:
        >>> setup = TrainingSetup(lr=0.0001, batch_size=1)
        >>> setup.optimizer.param_groups[0]["lr"]
        0.0001
    """

    def __init__(  # noqa: PLR0913  # many arguments, but all with defaults
        self,
        *,
        model: ModelSpec = ModelSpec(),  # noqa: B008  # frozen values
        optimizer: OptimizerSpec = OptimizerSpec(),  # noqa: B008
        scheduler: SchedulerSpec | None = None,
        loss: LossSpec = LossSpec(),  # noqa: B008
        lr: float = 0.1,
        batch_size: int = 2,
        strided: bool = False,
        fitted: bool = False,
        device: str = "cpu",
        seed: int = 0,
    ) -> None:
        where = device if isinstance(device, Device) else Device(device)
        super().__init__(Parts(model, optimizer, scheduler, loss, lr, batch_size, strided, fitted, where, seed))
