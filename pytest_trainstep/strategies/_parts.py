"""The strategies for the parts of a training set-up."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeVar

import torch
from hypothesis import event
from hypothesis import strategies as st
from hypothesis.errors import InvalidArgument

from pytest_trainstep.strategies import _draws
from pytest_trainstep.strategies._batches import LOSSES, Batch
from pytest_trainstep.strategies._layers import BLOCKS, STEMS
from pytest_trainstep.strategies._models import Drawn
from pytest_trainstep.strategies._optimizers import OPTIMIZERS, SCHEDULERS
from pytest_trainstep.strategies._specs import LossSpec, ModelSpec, OptimizerSpec, SchedulerSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from hypothesis.strategies import DrawFn, SearchStrategy
    from torch import nn

    from pytest_trainstep.strategies._devices import Device

T = TypeVar("T")


def models(
    *,
    dtype: torch.dtype = torch.float32,
    layers: Sequence[str] = (),
    max_layers: int = 5,
    complex_parameters: bool = False,
) -> SearchStrategy[nn.Module]:
    """Live models, small and of many shapes, from a linear layer to nested, shared and exotic parameters.

    A drawn model prints as the code that makes it. It takes the inputs of ``batches(model)`` and gives two outputs
    for each sample. Shrinks towards one linear layer with a bias.

    Args:
        dtype: The dtype of all parameters: float32, float64, bfloat16 or float16.
        layers: The names of the layers to choose from; all when empty.
        max_layers: At most so many layers before the head.
        complex_parameters: Whether models may have complex parameters (float32 and float64 only).

    Raises:
        InvalidArgument: At draw time, if the dtype or a layer is unknown, or there cannot be so many layers.

    Example:
        >>> @given(model=models(max_layers=2))
        ... def test_my_summary_counts_every_parameter(model): ...
    """
    draw_model = _checked(lambda: _draws.ModelDraw(layers, max_layers, complex_parameters=complex_parameters))

    @st.composite
    def drawn(draw: DrawFn) -> nn.Module:
        name = dtype_name(dtype)
        known = {*BLOCKS, *STEMS}
        if not known.issuperset(layers):
            raise InvalidArgument(f"Expected layers among {sorted(known)} but got layers={layers!r}")
        if not 0 <= max_layers <= MOST_LAYERS:
            raise InvalidArgument(f"Expected max_layers between 0 and {MOST_LAYERS} but got {max_layers=}")
        if complex_parameters and name.endswith("16"):
            raise InvalidArgument(f"There are no complex parameters of {dtype=}; use float32 or float64")
        return draw_model()(draw, name, bias=draw(_draws.BIASES)).build()

    return drawn()


MOST_LAYERS = 32


def _checked(make: Callable[[], T]) -> Callable[[], T]:
    """Make it once, when it is first asked for: arguments are checked at draw time."""
    made: list[T] = []

    def get() -> T:
        if not made:
            made.append(make())
        return made[0]

    return get


def dtype_name(dtype: torch.dtype) -> str:
    """Return the name of a dtype in which training steps can be judged."""
    name = str(dtype).removeprefix("torch.")
    if name not in _draws.RESOLUTION:
        raise InvalidArgument(f"Expected a dtype among {sorted(_draws.RESOLUTION)} but got {dtype=}")
    return name


def spec_of(model: object) -> ModelSpec:
    """Return the spec of a drawn model."""
    if isinstance(model, ModelSpec):
        return model
    if isinstance(model, Drawn):
        return model.spec
    raise InvalidArgument(
        f"Expected a model drawn from models() but got {type(model).__name__}; for a class of your own use setups_for()"
    )


def batches(
    model: nn.Module | ModelSpec, *, loss: LossSpec | None = None, min_size: int = 1, max_size: int = 16
) -> SearchStrategy[Batch]:
    """Batches for a drawn model: ``inputs, targets = batch``. Shrinks towards two samples; one is exotic.

    Args:
        model: The drawn model, or its spec.
        loss: The spec of the loss that reads the targets; the mean squared error when left out.
        min_size: At least so many samples.
        max_size: At most so many samples.

    Raises:
        InvalidArgument: At draw time, if the model was not drawn, or no size is possible.

    Example:
        >>> @given(data=st.data(), model=models())
        ... def test_my_forward(data, model):
        ...     inputs, targets = data.draw(batches(model))
    """

    @st.composite
    def drawn(draw: DrawFn) -> Batch:
        spec = spec_of(model)
        sizes = [size for size in _draws.SIZES if max(1, min_size) <= size <= max_size]
        if not sizes and max(1, min_size) <= max_size:
            sizes = [max(1, min_size)]
        if not sizes:
            raise InvalidArgument(f"There is no batch with {min_size=} and {max_size=} for {spec!r}")
        size = draw(st.sampled_from(sizes))
        return Batch(spec, loss or LossSpec(), size, draw(_draws.STRIDES), seed=draw(_draws.BATCH_SEEDS))

    return drawn()


def losses(*, names: Collection[str] = LOSSES) -> SearchStrategy[nn.Module]:
    """Live losses of ``torch.nn`` that print as the code that makes them. Shrinks towards ``MSELoss``.

    Args:
        names: The classes to choose from.

    Raises:
        InvalidArgument: At draw time, if a name is unknown or there are none.

    Example:
        >>> @given(loss_fn=losses(names=["MSELoss", "L1Loss"]))
        ... def test_my_reduction(loss_fn): ...
    """

    @st.composite
    def drawn(draw: DrawFn) -> nn.Module:
        chosen = _chosen("names", names, LOSSES)
        return LossSpec(draw(st.sampled_from(chosen)), draw(st.sampled_from(["mean", "sum"]))).build()

    return drawn()


def _chosen(what: str, names: Collection[str], known: Collection[str]) -> list[str]:
    if isinstance(names, str) or not names or not set(known).issuperset(names):
        raise InvalidArgument(f"Expected some of {list(known)} but got {what}={names!r}")
    return [name for name in known if name in names]


def devices(*, strict: bool = False) -> SearchStrategy[Device]:
    """Every device of this machine, and a simulated one on which ``.to()`` replaces parameters.

    ``.to()`` and the factory functions of torch take a drawn device. A simulation ends with the example. Shrinks
    towards the CPU.

    Args:
        strict: Whether to draw the device, too, that raises when its tensors meet those of the CPU (experimental).

    Example:
        >>> @given(device=devices())
        ... def test_my_trainer_trains_there(device):
        ...     trainer = Trainer(MyModel(), device=device)
    """

    @st.composite
    def drawn(draw: DrawFn) -> Device:
        device = draw(st.sampled_from(_draws.device_names(strict=strict)))
        device.start()
        event(f"device: {device.simulation or device}")
        return device

    return drawn()


def dtypes(*, names: Collection[str] = tuple(_draws.RESOLUTION)) -> SearchStrategy[torch.dtype]:
    """The dtypes of parameters: float32, float64, bfloat16, float16, in this order.

    Args:
        names: The names of the dtypes to choose from.

    Raises:
        InvalidArgument: At draw time, if a name is unknown or there are none.

    Example:
        >>> @given(dtype=dtypes(names=["float32", "float64"]))
        ... def test_my_layer_keeps_its_dtype(dtype): ...
    """

    @st.composite
    def drawn(draw: DrawFn) -> torch.dtype:
        dtype = getattr(torch, draw(st.sampled_from(_chosen("names", names, _draws.RESOLUTION))))
        assert isinstance(dtype, torch.dtype)
        return dtype

    return drawn()


def learning_rates(
    min_value: float | None = None, max_value: float | None = None, *, dtype: torch.dtype = torch.float32
) -> SearchStrategy[float]:
    """Learning rates over many orders of magnitude, the most ordinary first: 0.1, 0.01, 0.001, ...

    Whole numbers are among them, one as an ``int``. Shrinks towards 0.1.

    Args:
        min_value: Not below this; never below what the dtype can tell from nothing.
        max_value: Not above this; 10 when left out.
        dtype: The dtype of the weights, whose resolution is respected.

    Raises:
        InvalidArgument: At draw time, if there is no learning rate between the limits.

    Example:
        >>> @given(lr=learning_rates(max_value=1e-3))
        ... def test_my_warm_up(lr): ...
    """

    @st.composite
    def drawn(draw: DrawFn) -> float:
        for name, value in {"min_value": min_value, "max_value": max_value}.items():
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise InvalidArgument(f"Expected a positive number but got {name}={value!r} (type={type(value)})")
        rates = _draws.rates(dtype_name(dtype), min_value, max_value)
        if not rates:
            raise InvalidArgument(
                f"There is no learning rate with {min_value=} and {max_value=} that {dtype} can tell from nothing"
            )
        return draw(st.sampled_from(rates))

    return drawn()


def optimizers(
    *, names: Collection[str] = (), model: nn.Module | ModelSpec | None = None
) -> SearchStrategy[OptimizerSpec]:
    """Optimizers of ``torch.optim`` with their options; ``optimizer = drawn(model, lr)`` makes a live one.

    Several parameter groups, learning rates that are tensors, and the foreach and fused implementations are among
    them. Shrinks towards plain SGD.

    Args:
        names: The classes to choose from; when empty, all that need no closure. ``LBFGS``, which needs one, is drawn
            only if it is named.
        model: A drawn model: only optimizers that apply to all of its parameters are drawn.

    Raises:
        InvalidArgument: At draw time, if a name is unknown, or none of them applies to the model.

    Example:
        >>> @given(model=models(), make_optimizer=optimizers(), lr=learning_rates())
        ... def test_my_loop(model, make_optimizer, lr):
        ...     optimizer = make_optimizer(model, lr)
    """

    @st.composite
    def drawn(draw: DrawFn) -> OptimizerSpec:
        free = [name for name, traits in OPTIMIZERS.items() if not traits.needs_closure]
        chosen = _chosen("names", names or free, OPTIMIZERS)
        spec = None if model is None else spec_of(model)
        applying = [name for name in chosen if _draws.applies(name, spec)]
        if not applying:
            raise InvalidArgument(f"None of names={chosen!r} applies to {spec!r}")
        return _draws.draw_optimizer(draw, draw(st.sampled_from(applying)), spec)

    return drawn()


def schedulers(*, names: Collection[str] = tuple(SCHEDULERS)) -> SearchStrategy[SchedulerSpec]:
    """Learning rate schedulers; ``scheduler = drawn(optimizer)`` makes a live one. None starts from zero.

    Args:
        names: The classes to choose from.

    Raises:
        InvalidArgument: At draw time, if a name is unknown or there are none.

    Example:
        >>> @given(make_scheduler=schedulers())
        ... def test_my_schedule(make_scheduler): ...
    """

    @st.composite
    def drawn(draw: DrawFn) -> SchedulerSpec:
        return SchedulerSpec(draw(st.sampled_from(_chosen("names", names, SCHEDULERS))))

    return drawn()
