"""`watch`: the universal adapter around whatever trains."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from pytest_trainstep._errors import GradientsNotFlowing, GradientsNotFresh, StepNotFinite, TrainStepUsageError
from pytest_trainstep._record import StepRecord
from pytest_trainstep._watch import warmup
from pytest_trainstep._watch.closing import Closing
from pytest_trainstep._watch.session import Session

from . import advice, judging, verdicts


class Watched:
    """What `watch` yields: afterwards, `record` is the plain record and the claims are methods.

    Attributes:
        record: The `StepRecord`, once the `with` block has ended without an exception.
    """

    def __init__(self) -> None:
        self._record: StepRecord | None = None

    @property
    def record(self) -> StepRecord:
        """The record of the whole block.

        Raises:
            TrainStepUsageError: The block has not ended yet, or ended by an exception.
        """
        if self._record is None:
            msg = "the record exists once the `with watch(...)` block has ended (without an exception)"
            raise TrainStepUsageError(msg)
        return self._record

    def assert_weights_update(
        self,
        *,
        only: Sequence[str] | None = None,
        frozen: Sequence[str] = (),
        min_update: float | None = None,
        msg: str | None = None,
    ) -> StepRecord:
        """As `pytest_trainstep.assert_weights_update`, about what was watched.

        Raises:
            WeightsNotUpdated: A judged parameter did not change, or not by its gradient.
            TrainStepUsageError: A pattern fits nothing, or there is nothing to judge.
        """
        __tracebackhide__ = True
        return judging.weights_update(self.record, only=only, frozen=frozen, min_update=min_update, msg=msg)

    def assert_weights_frozen(
        self, *, only: Sequence[str] | None = None, buffers: bool = False, msg: str | None = None
    ) -> StepRecord:
        """As `pytest_trainstep.assert_weights_frozen`, about what was watched.

        Raises:
            WeightsNotFrozen: A judged parameter changed.
            TrainStepUsageError: A pattern fits nothing, or there is nothing to judge.
        """
        __tracebackhide__ = True
        return judging.weights_frozen(self.record, only=only, buffers=buffers, msg=msg)

    def assert_gradients_flow(
        self, *, only: Sequence[str] | None = None, unused: Sequence[str] = (), msg: str | None = None
    ) -> StepRecord:
        """As `pytest_trainstep.assert_gradients_flow`, as far as the steps tell what came.

        Raises:
            GradientsNotFlowing: A judged parameter received no gradient, or zeros at every step.
            TrainStepUsageError: A pattern fits nothing, or there is nothing to judge.
        """
        __tracebackhide__ = True
        failed, judged = verdicts.not_flowing(self.record, only=only, unused=unused)
        finding = verdicts.gradients_flow(failed, judged, self.record, msg=msg)
        if finding is not None:
            raise GradientsNotFlowing(finding)
        return self.record

    def assert_gradients_fresh(self, *, kept: Sequence[str] = (), msg: str | None = None) -> StepRecord:
        """As `pytest_trainstep.assert_gradients_fresh`, about gradients that an earlier step had used.

        What another loss or an unfinished window left over is not told from here: that takes the assertion, which
        knows where a step begins.

        Raises:
            GradientsNotFresh: An optimizer step used them once more.
            TrainStepUsageError: A pattern fits nothing.
        """
        __tracebackhide__ = True
        finding = verdicts.gradients_fresh(self.record, kept=kept, msg=msg)
        if finding is not None:
            raise GradientsNotFresh(finding)
        return self.record

    def assert_step_finite(self, *, gradients: bool = True, msg: str | None = None) -> StepRecord:
        """As `pytest_trainstep.assert_step_finite`; the operation is named by the assertion only.

        Raises:
            StepNotFinite: A loss, a gradient that was used, or a weight was NaN or infinite.
        """
        __tracebackhide__ = True
        finding = verdicts.step_finite(self.record, gradients=gradients, msg=msg)
        if finding is not None:
            raise StepNotFinite(finding)
        return self.record

    def assert_step_sound(
        self,
        *,
        frozen: Sequence[str] = (),
        unused: Sequence[str] = (),
        skip: Mapping[str, str] | None = None,
        msg: str | None = None,
    ) -> StepRecord:
        """As `pytest_trainstep.assert_step_sound`, without the checks of order and direction.

        Raises:
            StepNotSound: A check for which the record suffices found something.
            TrainStepUsageError: A pattern fits nothing; `skip` names no check, or gives no reason.
        """
        from . import sound

        __tracebackhide__ = True
        return sound.judge(self.record, frozen=frozen, unused=unused, skip=skip, msg=msg)


def watch(model: Any = None, *, params: Any = None, buffers: bool = False) -> AbstractContextManager[Watched]:
    """Watch everything that trains `model` inside the block, whatever framework runs it.

    Optimizer steps, backward passes, cleared gradients, skipped steps and weight changes are recorded;
    nothing of the model, the optimizers or the random streams is altered, and everything is detached
    again when the block ends. An exception of the block passes unchanged.

    Args:
        model: A `torch.nn.Module`, or a mapping of names to modules.
        params: For functional training, in place of `model`: a mapping of names to tensors, or a
            callable that returns the present one.
        buffers: Watch the buffers too, for `assert_weights_frozen(buffers=True)`.

    Returns:
        A context manager that yields a `Watched`.

    Raises:
        TrainStepUsageError: `model` is neither, or has no parameters of any kind.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> with watch(model) as watched:
        ...     model(torch.ones(1, 2)).sum().backward()
        ...     optimizer.step()
        >>> record = watched.assert_weights_update()
        >>> record.parameters["weight"].elements_changed
        2
    """
    return _watching(model, params, buffers=buffers)


@contextmanager
def _watching(model: Any, params: Any, *, buffers: bool) -> Iterator[Watched]:
    session = open_session(model, params, buffers=buffers)
    watched = Watched()
    session.begin()
    try:
        yield watched
    except BaseException as error:
        session.stop()
        advice.add_note(error)
        raise
    session.stop()
    watched._record = Closing(session).conclude()  # noqa: SLF001 - its own class


def open_session(model: Any, params: Any, *, buffers: bool = False) -> Session:
    """Make a session for a model or for `params=`."""
    warmup.warm_up()
    if model is None and params is None:
        msg = "give a model (or params= for functional training)"
        raise TrainStepUsageError(msg)
    return Session(model, params=params, buffers=buffers)


def run(session: Session, step_fn: Callable[[], object], steps: int) -> tuple[StepRecord, Closing, list[object]]:
    """Call `step_fn` `steps` times under the session; return the record and what was returned."""
    returned: list[object] = []
    session.begin()
    try:
        for call in range(1, steps + 1):
            session.next_call(call)
            value = step_fn()
            returned[:] = [value]  # earlier losses would keep their graphs alive
            if call < steps:
                session.end_call()
    except BaseException as error:
        session.stop()
        advice.add_note(error)
        raise
    session.stop()
    closing = Closing(session)
    return closing.conclude(), closing, returned
