"""The value of the fixture `trainstep_recording`: check a training against its recording."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pytest_trainstep import _settings
from pytest_trainstep._errors import RecordingMismatch, TrainStepUsageError

from . import files

if TYPE_CHECKING:
    from pytest_trainstep._recording.session import RecordingSession


class Recording:
    """Runs a seeded training and compares it with the recording beside the test."""

    def __init__(self, session: RecordingSession) -> None:
        self._session = session

    def __repr__(self) -> str:
        return "trainstep_recording"  # short, because Hypothesis prints the value of a fixture

    def check(
        self,
        model: Any,
        step_fn: Callable[[], object],
        *,
        steps: int | None = None,
        rtol: float | None = None,
        name: str = "",
        msg: str | None = None,
    ) -> None:
        """Run `step_fn` from seeded random streams; loss, gradient, update, lr and weights must be as recorded.

        Args:
            model: A `torch.nn.Module`, or a mapping of names to modules, built under a fixed seed.
            step_fn: The step: called without arguments, may return anything.
            steps: How often it is called. Default: the marker's, the option's, else 5.
            rtol: Relative tolerance. Default: by the dtype of the weights, 1e-4 for float32.
            name: Tells several recordings of one test apart; the second is called "2" without it.
            msg: Text of your own, printed below the message.

        Raises:
            RecordingMismatch: With `.finding`: the step and the quantity in which training parts from it, or
                that there is no recording and none may be made.
            TrainStepUsageError: The file is no recording, or cannot be written.
        """
        __tracebackhide__ = True
        from pytest_trainstep.assertions.weights import steps_of

        from . import comparing

        count = steps_of(step_fn, steps, default=5)
        path = self._session.path(name)
        recorded, mode, shown = files.read(path), self._session.mode, self._session.shown(path)
        if recorded is None and mode == "none":
            raise RecordingMismatch(comparing.missing(shown, msg))
        now = files.rounded(_measured(model, step_fn, count))
        self._session.devices.add(now["device"])
        if recorded is None or mode == "all":
            files.write(path, now)
            self._session.written.add(str(path))
            return
        tolerance = comparing.TOLERANCES.get(now["dtype"], 1e-4) if rtol is None else rtol
        parting = comparing.first_parting(recorded, now, tolerance)
        if parting is not None:
            finding = comparing.finding(parting, recorded, now, rtol=tolerance, path=shown, msg=msg)
            self._session.parting.append(comparing.parted(parting, recorded, now, finding, path=shown))
            raise RecordingMismatch(finding)


def _measured(model: Any, step_fn: Callable[[], object], steps: int) -> dict[str, Any]:
    import torch

    from pytest_trainstep._watch import curves, naming, restore, warmup

    warmup.warm_up()
    tensors = [slot.tensor for slot in naming.slots_of(naming.modules_of(model))]
    if not tensors:
        msg = "there is nothing to record: the model has no parameters"
        raise TrainStepUsageError(msg)
    with restore.random_streams_kept():
        seen = curves.measure(model, step_fn, steps, _settings.current().seed or 0)
    rows = zip(seen.loss, seen.gradient, seen.update, seen.size, seen.lr, _changes(seen.options), strict=True)
    return {
        "torch": torch.__version__.partition("+")[0],
        "device": tensors[0].device.type,
        "dtype": str(tensors[0].dtype).removeprefix("torch."),
        "steps": [
            {"loss": loss, "gradient": gradient, "update": update, "size": size, "lr": lr, **options}
            for loss, gradient, update, size, lr, options in rows
        ],
        "weights": seen.weights,
    }


def _changes(options: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Keep the options of an optimizer where they are other ones than at the step before."""
    before: dict[str, Any] = {}
    for now in options:
        yield {"options": now} if now and now != before else {}
        before = now or before
