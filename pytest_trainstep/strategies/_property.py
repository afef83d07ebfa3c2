"""The ready-made property: draw set-ups, run the step on each, raise the finding of the smallest that fails."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any, Literal, Protocol

import hypothesis
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st
from hypothesis.errors import Flaky

from pytest_trainstep._errors import TrainStepError, TrainStepUsageError
from pytest_trainstep.strategies._setups import training_setups
from pytest_trainstep.strategies._specs import OptimizerSpec

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from hypothesis.strategies import SearchStrategy
    from torch import nn

    from pytest_trainstep.strategies._devices import Device
    from pytest_trainstep.strategies._setup import TrainingSetup


class Trainer(Protocol):
    """What a trainer shows: the model that it trains, and one step."""

    model: nn.Module

    def step(self, inputs: Any, targets: Any, loss_fn: Any) -> object:  # noqa: ANN401  # whatever the user's takes
        """Train on one batch."""


def _with_optimizer(step: Callable[..., object], setup: TrainingSetup) -> tuple[nn.Module, Callable[[], object]]:
    arguments = (setup.model, setup.optimizer, setup.inputs, setup.targets, setup.loss_fn)
    return setup.model, lambda: step(*arguments)


def _with_rate(step: Callable[..., object], setup: TrainingSetup) -> tuple[nn.Module, Callable[[], object]]:
    arguments = (setup.model, setup.lr, setup.inputs, setup.targets, setup.loss_fn)
    return setup.model, lambda: step(*arguments)


def _with_trainer(step: Callable[..., Trainer], setup: TrainingSetup) -> tuple[nn.Module, Callable[[], object]]:
    device = setup.device  # a simulation starts here
    trainer = step(setup.build_model(), setup.lr, device)
    arguments = (setup.inputs, setup.targets, setup.loss_fn)
    return trainer.model, lambda: trainer.step(*arguments)


SHAPES: dict[str, Callable[[Callable[..., Any], TrainingSetup], tuple[nn.Module, Callable[[], object]]]] = {
    "optimizer": _with_optimizer,
    "lr": _with_rate,
    "trainer": _with_trainer,
}


def check_train_step(
    step: Callable[..., object],
    *,
    shape: Literal["optimizer", "lr", "trainer"] = "optimizer",
    max_examples: int = 100,
    seed: int | None = None,
    devices: SearchStrategy[Device] | None = None,
) -> None:
    """A step moves every trainable parameter of any model that it is given, with any optimizer, rate and device.

    Args:
        step: The step, as its shape says: ``step(model, optimizer, inputs, targets, loss_fn)``, or
            ``step(model, lr, inputs, targets, loss_fn)``, or ``step(model, lr, device)``, which returns a trainer
            with ``.model`` and ``.step(inputs, targets, loss_fn)``.
        shape: How ``step`` is called: ``"optimizer"``, ``"lr"`` or ``"trainer"``.
        max_examples: On how many set-ups it is tried.
        seed: What the set-ups are drawn from; by default others every time.
        devices: Where devices come from; ``devices()`` by default.

    Raises:
        WeightsNotUpdated: For the smallest set-up in which a parameter does not move; a note on the exception is the
            code of that set-up.
        TrainStepUsageError: If there is no such shape.

    Example:
        >>> def test_my_step_trains_any_model():
        ...     check_train_step(my_step, seed=0)
    """
    if shape not in SHAPES:
        raise TrainStepUsageError(f"Expected shape to be one of {', '.join(map(repr, SHAPES))} but got {shape!r}")
    smallest = _smallest_failing(step, shape, _settings(max_examples), seed, devices)
    if smallest is not None:
        # To explain takes a hundred times as long as to judge: only the smallest is explained.
        _explain(step, shape, smallest)
        raise AssertionError(f"The step moved all parameters when it was run again; its {_note(smallest)}")


def _settings(max_examples: int) -> hypothesis.settings:
    return hypothesis.settings(
        max_examples=max_examples,
        deadline=None,
        database=None,  # every step would share one entry
        report_multiple_bugs=False,
        print_blob=False,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )


def _smallest_failing(
    step: Callable[..., Any],
    shape: str,
    settings: hypothesis.settings,
    seed: int | None,
    devices: SearchStrategy[Device] | None,
) -> TrainingSetup | None:
    setups = training_setups(devices=devices)
    if shape != "optimizer":  # what such a step never sees is not drawn
        setups = training_setups(devices=devices, optimizers=st.just(OptimizerSpec()), schedulers=st.none())
    failing: list[TrainingSetup] = []

    @settings
    @hypothesis.given(setup=setups)
    def check(setup: TrainingSetup) -> None:
        if _stands_still(*SHAPES[shape](step, setup)):
            failing[:] = [setup]
            raise StoodStillError

    if seed is not None:
        check = hypothesis.seed(seed)(check)
    try:
        check()
    except StoodStillError:
        return failing[0]  # Hypothesis runs the smallest last
    except Flaky:  # the step remembers something: it stood still on a set-up once, and not again
        if not failing:
            raise
        return failing[0]
    return None


class StoodStillError(AssertionError):
    """A set-up has been found in which a parameter does not move."""


def _note(setup: TrainingSetup) -> str:
    return f"smallest failing set-up:\n{textwrap.indent(repr(setup), '    ')}"


def _stands_still(model: nn.Module, step_fn: Callable[[], object]) -> bool:
    before = {name: (p, p.detach().clone()) for name, p in model.named_parameters() if p.requires_grad}
    step_fn()
    after = dict(model.named_parameters())
    return any(not _differ(after.get(name, old), copy) for name, (old, copy) in before.items())


def _differ(new: torch.Tensor, old: torch.Tensor) -> bool:
    new = new.detach()
    if new.shape != old.shape or new.dtype != old.dtype:
        return True
    return bool(((new != old) & ~((new != new) & (old != old))).any())  # noqa: PLR0124  # not a number


def _explain(step: Callable[..., Any], shape: str, setup: TrainingSetup) -> None:
    from pytest_trainstep.assertions import assert_weights_update

    with setup.device:
        try:
            assert_weights_update(*SHAPES[shape](step, setup))
        except TrainStepError as error:
            error.add_note(_note(setup))
            raise error from None
