"""Devices, real and simulated: what ``.to()`` and the factory functions of torch accept, alive for one example."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from pytest_trainstep.strategies._live import at_end

if TYPE_CHECKING:
    from collections.abc import Callable

SIMULATED = ("replacing", "strict")


class Device(str):
    """A device, real or simulated, that torch accepts wherever it accepts the name of one.

    ``Device("replacing")`` is the CPU, on which ``.to()`` and its like *replace* parameters, as they do on some
    backends, under sharding, and in ``to_empty``: an optimizer that was built before trains dead tensors.
    ``Device("strict")`` (experimental) holds real values, claims to be ``meta``, and raises when its tensors meet
    those of the CPU.

    A simulation starts when the device is drawn or printed, inside an example, and ends with the example. Outside of
    Hypothesis it is a context manager.

    Args:
        name: What torch calls it, or ``"replacing"`` or ``"strict"``.

    Example:
        >>> with Device("replacing") as device:
        ...     model.to(device)
    """

    __slots__ = ("_name",)
    _name: str

    def __new__(cls, name: str = "cpu") -> Self:
        device = super().__new__(cls, {"replacing": "cpu", "strict": "meta"}.get(name, name))
        device._name = name
        return device

    @property
    def simulation(self) -> str:
        """``"replacing"``, ``"strict"``, or nothing for a real device."""
        return self._name if self._name in SIMULATED else ""

    @property
    def type(self) -> str:
        """The type of the device, as of ``torch.device``."""
        return str(self).partition(":")[0]

    @property
    def index(self) -> int | None:  # type: ignore[override]  # a device is asked for its index more often than a string
        """The index of the device, as of ``torch.device``."""
        return torch.device(str(self)).index

    def start(self) -> None:
        """Start the simulation, until the example ends; without an example it does nothing."""
        if self.simulation and at_end(self._stop):
            Simulation.enter(self.simulation)

    def _stop(self) -> None:
        Simulation.leave(self.simulation)

    def __enter__(self) -> Self:
        if self.simulation:
            Simulation.enter(self.simulation)
        return self

    def __exit__(self, *_: object) -> None:
        if self.simulation:
            self._stop()

    def __repr__(self) -> str:
        # Hypothesis prints the arguments of an `@example` inside the execution, before the body of the test.
        self.start()
        return f"Device({self._name!r})"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Device):
            return self._name == other._name
        return str(self) == (str(other) if isinstance(other, torch.device) else other)

    def __ne__(self, other: object) -> bool:  # that of str would be asked
        return not self == other

    def __hash__(self) -> int:
        return hash(str(self))

    def __reduce__(self) -> tuple[object, ...]:
        return Device, (self._name,)


def _replacing(apply: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """Return the conversion of a module, each of whose tensors has a memory of its own afterwards."""

    def replace(
        module: nn.Module, fn: Callable[[torch.Tensor], torch.Tensor], *args: bool, **kwargs: bool
    ) -> nn.Module:
        def moved(tensor: torch.Tensor) -> torch.Tensor:
            made = fn(tensor)
            # What is in shared memory is shared on purpose; what is lazy has nothing to copy.
            if made is not tensor or is_lazy(made) or made.is_shared():  # type: ignore[no-untyped-call]
                return made
            return made.clone()

        before = torch.__future__.get_overwrite_module_params_on_conversion()
        owned = module._parameters.values()  # noqa: SLF001
        lazy = any(parameter is not None and is_lazy(parameter) for parameter in owned)
        torch.__future__.set_overwrite_module_params_on_conversion(not lazy)  # torch cannot replace a lazy one
        try:
            return apply(module, moved, *args, **kwargs)
        finally:
            torch.__future__.set_overwrite_module_params_on_conversion(before)

    return replace


class Simulation:
    """The simulations that are on, each counted: two devices may be drawn in one example."""

    running: ClassVar[dict[str, int]] = {}
    before: ClassVar[bool] = False
    apply: ClassVar[Callable[..., nn.Module] | None] = None

    @classmethod
    def enter(cls, name: str) -> None:
        """Switch it on, if it is not on yet."""
        cls.running[name] = cls.running.get(name, 0) + 1
        if cls.running[name] > 1:
            return
        if name == "strict":
            from pytest_trainstep.strategies._strict import switch_on

            switch_on()
        else:
            cls.before = torch.__future__.get_overwrite_module_params_on_conversion()
            torch.__future__.set_overwrite_module_params_on_conversion(True)
            cls.apply = getattr(nn.Module, "_apply", None)  # all conversions pass through it; only the flag is public
            if cls.apply is not None:
                nn.Module._apply = _replacing(cls.apply)  # type: ignore[method-assign]  # noqa: SLF001

    @classmethod
    def leave(cls, name: str) -> None:
        """Switch it off, if this was the last that wanted it."""
        cls.running[name] -= 1
        if cls.running[name]:
            return
        if name == "strict":
            from pytest_trainstep.strategies._strict import switch_off

            switch_off()
        else:
            torch.__future__.set_overwrite_module_params_on_conversion(cls.before)
            if cls.apply is not None:
                nn.Module._apply = cls.apply  # type: ignore[method-assign]  # noqa: SLF001


def real_devices() -> tuple[Device, ...]:
    """Return the devices that this machine has, the CPU first."""
    accelerators = {"cuda": torch.cuda, "xpu": torch.xpu, "mps": torch.backends.mps}
    return (Device("cpu"), *(Device(name) for name, room in accelerators.items() if room.is_available()))
