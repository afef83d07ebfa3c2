"""Running an evaluation, once or several times, and putting everything back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - its usual name
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode

from . import naming, results, sites
from .ears import Ear, Heard, listening
from .portrait import Found, Portrait
from .restore import random_states
from .stage import Stage, optimizers_of
from .streams import Seeding, positions, set_elsewhere

_LAYERS = nn.modules.dropout._DropoutNd  # noqa: SLF001 - no public base class


@dataclass(slots=True)
class Viewing:
    """What one evaluation left: changes, events, and streams that it set to a fixed place (and where)."""

    found: list[Found]
    heard: list[Heard]
    resets: dict[str, str | None]


@dataclass(slots=True)
class Repetition:
    """What two evaluations returned, and what further ones showed about the difference."""

    differing: list[results.Differing]
    total: int
    nothing: bool  # the evaluation returned nothing that can be compared
    returns: bool = True
    by_chance: bool = False
    carried: list[str] = field(default_factory=list)
    dropouts: list[str] = field(default_factory=list)
    drawn: list[str] = field(default_factory=list)


class Evaluation:
    """A model and the function that evaluates it."""

    def __init__(self, model: Any, eval_fn: Callable[[], object], optimizers: Sequence[Any] = ()) -> None:
        self.modules = naming.modules_of(model)
        self.eval_fn = eval_fn
        self.optimizers = optimizers
        known = {id(one): one for one in (*optimizers, *optimizers_of(self.modules))}
        self.stage = Stage(self.modules, list(known.values()))

    def view(self) -> Viewing:
        """Evaluate, look at what has changed, and put it back."""
        portrait = Portrait(self.modules, self.optimizers)
        ear = Ear([slot.tensor for slot in portrait.slots])
        ear.meet = self.stage.adopt
        seeding, start = Seeding(), positions()
        try:
            with listening(ear), seeding.watched():
                self.eval_fn()
            end, found, seed = positions(), portrait.changes(), torch.initial_seed()
            self.stage.restore()
            resets = seeding.resets()
            if seed != torch.initial_seed():
                resets.setdefault("torch", None)
            moved = [stream for stream, place in end.items() if place != start.get(stream) and stream not in resets]
            if moved:
                resets |= dict.fromkeys(
                    stream for stream, place in self._from_elsewhere().items() if place == end[stream]
                )
        finally:
            self.stage.restore()
        return Viewing(
            found, ear.heard, {stream: seeding.last.get(stream, ("", at))[1] for stream, at in resets.items()}
        )

    def _from_elsewhere(self) -> dict[str, Any]:
        """Evaluate once more from other random numbers; return where the streams end that it has not put back."""
        set_elsewhere()
        start = positions()
        try:
            self.eval_fn()
        except Exception:  # noqa: BLE001 - an evaluation that runs only once tells nothing more
            return {}
        return {stream: place for stream, place in positions().items() if place != start[stream]}

    def repeat(self) -> Repetition:
        """Evaluate twice in a row; if the results differ, twice more to see why. Then put everything back."""
        portrait, start = Portrait(self.modules), positions()
        try:
            first = self._result()
            carried = [one.name for one in portrait.weight_changes()]
            drawn = [stream for stream, place in positions().items() if place != start.get(stream)]
            second_start = random_states()
            second = self._result()
            nothing = all(value is None for value in first.values())
            found = Repetition(results.differences(first, second), len(first), nothing, carried=carried, drawn=drawn)
            if found.differing:
                self._look_closer(found, first, second_start)
        finally:
            self.stage.restore()
        return found

    def _result(self) -> dict[str, Any]:
        return dict(results.flatten(self.eval_fn()))

    def _look_closer(self, found: Repetition, first: Mapping[str, Any], second_start: Callable[[], None]) -> None:
        try:
            self.stage.restore()
            found.returns = not results.differences(first, self._result())
            self.stage.restore()
            second_start()
            with _chances_noted(self.modules) as chances:
                found.by_chance = bool(results.differences(first, self._result()))
            found.dropouts = list(dict.fromkeys(chances.seen))
        except Exception:  # noqa: BLE001 - the first two runs are what counts
            found.returns = False


class _Chances(TorchFunctionMode):
    """Notes the layers of dropout that are at work, and where functional dropout is called."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.layer: str | None = None

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if "dropout" in name:
            if kwargs.get("training", args[2] if len(args) > 2 else True):  # noqa: PLR2004 - (input, p, training)
                self.seen.append(self.layer or f"{name} at {sites.here()}")
        elif kwargs.get("dropout_p") or (func is F.multi_head_attention_forward and kwargs.get("training")):
            self.seen.append(f"attention at {sites.here()}")
        return func(*args, **kwargs)


@contextmanager
def _chances_noted(modules: Mapping[str, nn.Module]) -> Iterator[_Chances]:
    names = {
        id(inner): name
        for prefix, module in modules.items()
        for name, inner in nn.Module.named_modules(module, prefix=prefix)
    }
    chances = _Chances()

    def entered(module: nn.Module, *_: object) -> None:
        chances.layer = names.get(id(module)) if isinstance(module, _LAYERS) else None

    handle = register_module_forward_pre_hook(entered)
    try:
        with chances:
            yield chances
    finally:
        handle.remove()
