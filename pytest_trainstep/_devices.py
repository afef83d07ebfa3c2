"""The devices by name, and which of them this machine has. Torch is imported only when a device is really needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

ACCELERATORS = ("cuda", "mps", "xpu")
NAMES = ("auto", "cpu", *ACCELERATORS, "all")
"""What can be asked for: ``auto`` is an accelerator where there is one, ``all`` is every device that is present."""


def present() -> tuple[str, ...]:
    """Return the names of this machine's devices, cpu first."""
    import torch

    rooms = {"cuda": torch.cuda, "mps": torch.backends.mps, "xpu": torch.xpu}
    return ("cpu", *(name for name in ACCELERATORS if rooms[name].is_available()))


def expand(names: Sequence[str]) -> tuple[str, ...]:
    """Replace ``all`` by what is present, and drop repetitions."""
    if "all" in names:
        pytest.importorskip("torch")
        names = [each for name in names for each in (present() if name == "all" else (name,))]
    return tuple(dict.fromkeys(names))


def resolve(name: str) -> torch.device:
    """Return the device of that name, or skip the test with the reason."""
    pytest.importorskip("torch", reason="trainstep_device: torch is not installed")
    import torch

    here = present()
    if name == "auto":
        name = here[-1] if len(here) == 1 else here[1]
    if name not in here:
        pytest.skip(f"trainstep_device: this machine has no {name}, only {', '.join(here)}")
    return torch.device(name)
