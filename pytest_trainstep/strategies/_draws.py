"""How set-ups are drawn: what is ordinary first, so that a failing one shrinks to it.

Hypothesis holds the example with fewer choices to be the simpler one. So every set-up is drawn with equally many: what
does not apply is drawn all the same, and ignored. Otherwise Rprop, which has few options, would be simpler than SGD.
For the same reason a choice means the same whatever the others are. And no two choices have the same list of values:
where they have, Hypothesis spends most examples on copying one to the other, and sees fewer different set-ups.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeVar

from hypothesis import event
from hypothesis import strategies as st

from pytest_trainstep.strategies._batches import LOSSES, REGRESSION
from pytest_trainstep.strategies._devices import Device, real_devices
from pytest_trainstep.strategies._layers import BLOCKS, LOW_PRECISION, MATRICES, PLAIN, STEMS
from pytest_trainstep.strategies._optimizers import OPTIMIZERS, SCHEDULERS
from pytest_trainstep.strategies._specs import LossSpec, ModelSpec, OptimizerSpec, SchedulerSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hypothesis.strategies import DrawFn, SearchStrategy

T = TypeVar("T")

RATES = (
    *(0.1, 0.01, 0.001, 1e-4, 1e-5, 1e-6),
    *(1e-7, 1e-8, 1e-10, 1e-12),  # only float64 resolves them
    *(0.05, 0.5, 0.003, 3e-4),
    *(1.0, 1, 2.0, 10.0),  # whole numbers, one of them an int
)
"""Learning rates, the most ordinary first; neighbours are alike, because Hypothesis shrinks from one to the next."""
RESOLUTION = {"float32": 1e-6, "float64": 1e-12, "bfloat16": 1e-2, "float16": 1e-3}
"""The dtypes by name, and the smallest learning rate that each can tell from nothing."""
SIZES = (2, 4, 8, 3, 5, 1, 7, 16)


def weighted(*values: T, often: int = 1) -> SearchStrategy[T]:
    """Return a strategy for these values, the first of them ``often`` times as likely as each other."""
    return st.sampled_from([values[0]] * (often - 1) + list(values))


def flags(*, often: int) -> SearchStrategy[bool]:
    """Return a strategy for false, ``often`` times as likely, and true."""
    return st.sampled_from([*[False] * often, True])


WIDTHS = weighted(3, 4, 5, 8, 16, often=3)
NESTINGS = weighted(0, 1, 2, 3, often=4)
CONTAINER = weighted("sequential", "bare", "module", "list", "dict", "root", often=3)
MODEL_SEEDS = st.sampled_from(range(100))
BATCH_SEEDS = st.sampled_from(range(99))
BIASES = st.sampled_from((True, True, False))
FREE = [name for name, traits in OPTIMIZERS.items() if not traits.needs_closure]
MUON = "Muon"
ANY_NAME = weighted(*FREE, MUON, MUON, often=4)  # it counts only for models without a bias
MOST_NAMES = weighted(*(name for name in FREE if not OPTIMIZERS[name].matrices_only), often=4)
ANY_DTYPE = weighted("float32", "float64", "bfloat16", "float16", "bfloat16", often=3)  # half of bfloat16 is too coarse
WIDE_DTYPE = weighted("float32", "float64", often=3)  # in the places that they have above


ANY_RATE = st.sampled_from(RATES)


def rate_between(rate: float, smallest: float, largest: float) -> float | None:
    """Return a learning rate that was drawn, or a substitute between two limits; ``None`` where there is none."""
    if smallest <= rate <= largest:
        return rate
    # The substitute for a tiny rate is tiny, or the most ordinary one: any other would catch a failure that hangs on
    # it, and not let go of what makes the limits narrow.
    least = min((rate for rate in RATES if rate >= smallest), default=math.inf)
    if rate < smallest and least <= TINY:
        return least
    return RATES[0] if smallest <= RATES[0] <= largest else None


TINY = 1e-4


def rates(dtype: str, least: float | None, most: float | None) -> list[float]:
    """Return the learning rates between two limits that the dtype resolves, the most ordinary first."""
    low = max(RESOLUTION[dtype], least or 0.0)
    high = 10.0 if most is None else most
    listed = [rate for rate in RATES if low <= rate <= high]
    return listed or ([low] if low <= high else [])


class ModelDraw:
    """How a model is drawn.

    Args:
        layers: The names of the layers to choose from; all when empty.
        max_layers: At most so many layers before the head.
        complex_parameters: Whether layers may have complex parameters.
    """

    def __init__(self, layers: Sequence[str] = (), max_layers: int = 5, *, complex_parameters: bool = False) -> None:
        names = [name for name in (*STEMS, *BLOCKS) if not layers or name in layers]
        if not complex_parameters and not layers:
            names.remove("complex")
        stems, blocks = ([name for name in names if (name in STEMS) is first] for first in (True, False))
        # Each place is drawn by itself and may stay empty: it shrinks like a list, and costs half as much.
        first = [*stems, *(blocks if max_layers == 1 or not stems else ())]
        often = 2 + len(blocks) // 8
        self.places = [
            weighted("", *(blocks if place else first), often=often + place if place else 2 + len(first) // 4)
            for place in range(max_layers)
        ]

    def __call__(self, draw: DrawFn, dtype: str, *, bias: bool, matrices: bool = False) -> ModelSpec:
        """Draw a model with parameters of this dtype; ``matrices``: all of them have two dimensions."""
        container = draw(CONTAINER)
        if matrices and container == "root":
            container = "sequential"
        drawn = [draw(place) for place in self.places]
        possible = MATRICES if matrices else LOW_PRECISION if dtype.endswith("16") else drawn
        layers = tuple(name for name in drawn if name and name in possible)
        nesting = draw(NESTINGS)
        if container == "bare":
            layers, nesting = (), 0
        spec = ModelSpec(layers, draw(WIDTHS), bias, container, nesting, dtype, draw(MODEL_SEEDS))
        event("model: plain" if is_plain(spec) else "model: not a plain Sequential")
        return spec


def is_plain(spec: ModelSpec) -> bool:
    """Tell whether the model is a plain ``Sequential`` of linear layers and activations, or a single layer."""
    return spec.container in {"sequential", "bare"} and not spec.nesting and PLAIN.issuperset(spec.layers)


IMPLEMENTATIONS = weighted(None, "foreach", "single", "fused", often=3)
VARIANTS = st.sampled_from(("", "first", "second"))  # momentum, and Nesterov's; or Adam's amsgrad
DECAYS = weighted(0.0, 0.01, 0.1, often=3)
TENSOR_RATES = flags(often=5)
MAXIMIZES = flags(often=4)
STRIDES = flags(often=6)
KINDS = weighted("", "strided", "fitted", "fitted", often=5)  # of batches: few that are fitted can be judged
GROUPS = weighted(1, 2, 3, often=3)
NO_SCHEDULER = weighted(None, *map(SchedulerSpec, SCHEDULERS), often=15)
LOSS = weighted(*LOSSES, often=4)
REDUCTIONS = weighted("mean", "sum", often=3)
SIZE = st.sampled_from(SIZES)


def draw_optimizer(draw: DrawFn, name: str, spec: ModelSpec | None) -> OptimizerSpec:
    """Draw the options of an optimizer for a model, or for any real one in 32 bits."""
    traits = OPTIMIZERS[name]
    groups, tensor_lr, variant = draw(GROUPS), draw(TENSOR_RATES), draw(VARIANTS)
    decay, maximize, implementation = draw(DECAYS), draw(MAXIMIZES), draw(IMPLEMENTATIONS)
    tensor_lr = tensor_lr and traits.tensor_lr
    if not traits.foreach or (implementation == "foreach" and tensor_lr):
        implementation = None  # torch refuses a foreach with a tensor, unless it is capturable
    if spec is not None and spec.dtype == "float16" and name != "AdamW":
        decay = 0.0  # it is added to the gradient, and may cancel it out
    fused = implementation == "fused" and traits.fused and (spec is None or fusible(spec))
    event(f"optimizer: {name}")
    return OptimizerSpec(
        name,
        groups=1 if traits.needs_closure else groups,
        tensor_lr=tensor_lr,
        momentum=0.9 if variant and traits.momentum else 0.0,
        nesterov=variant == "second" and traits.nesterov,
        amsgrad=bool(variant) and traits.amsgrad,
        weight_decay=decay if name not in {"Rprop", "LBFGS"} else 0.0,
        maximize=maximize and traits.maximize,
        foreach={"foreach": True, "single": False}.get(implementation or ""),
        fused=fused or None,
    )


def fusible(spec: ModelSpec) -> bool:
    """Tell whether torch can fuse; in 16 bits its fused SGD leaves whole vectors as they are (2.13, CPU)."""
    return not spec.dtype.endswith("16") and "complex" not in spec.layers


def can_be_fitted(spec: ModelSpec, loss: LossSpec, optimizer: str) -> bool:
    """Tell whether small gradients still move every parameter, and are small with this loss."""
    precise = not spec.dtype.endswith("16")
    return precise and loss.name in REGRESSION and OPTIMIZERS[optimizer].reach >= NEARLY_WHOLE


NEARLY_WHOLE = 0.5  # of the other optimizers the first update shrinks with the gradient, more than in proportion


def device_names(*, strict: bool) -> list[Device]:
    """Return the devices to draw from, the CPU first and the simulated ones last."""
    return [*real_devices(), Device("replacing"), *([Device("strict")] if strict else [])]


def all_matrices(spec: ModelSpec) -> bool:
    """Tell whether every parameter of the model has two dimensions."""
    return not spec.bias and spec.container != "root" and set(MATRICES).issuperset(spec.layers)


def applies(name: str, spec: ModelSpec | None) -> bool:
    """Tell whether an optimizer works on all parameters of a model; without a model, on those of any."""
    traits = OPTIMIZERS[name]
    if spec is None:
        return not traits.matrices_only
    real = "complex" not in spec.layers or name not in {"Adafactor", "Muon"}
    sixteen = spec.dtype.endswith("16")
    return real and (traits.low_precision or not sixteen) and (not traits.matrices_only or all_matrices(spec))
