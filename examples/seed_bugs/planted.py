"""A bug that was planted on purpose: the test must fail, and the message must name the cause."""

import functools

import pytest

from pytest_trainstep import TrainStepError, WeightsNotUpdated


def planted(cause, raises=WeightsNotUpdated):
    """Mark a test as one that fails with exactly this cause: any other cause, or none, turns the run red."""

    def mark(test):
        @functools.wraps(test)
        def checked(*args, **kwargs):
            try:
                test(*args, **kwargs)
            except TrainStepError as error:
                if error.finding.causes != (cause,):
                    pytest.fail(f"expected the cause {cause}, got {', '.join(error.finding.causes)}:\n\n{error}")
                raise

        return pytest.mark.xfail(strict=True, raises=raises, reason=cause)(checked)

    return mark


def noted(part, raises):
    """Mark a test in which torch's own error passes through, with a note of ours that contains `part`."""

    def mark(test):
        @functools.wraps(test)
        def checked(*args, **kwargs):
            try:
                test(*args, **kwargs)
            except raises as error:
                if not any(part in note for note in getattr(error, "__notes__", ())):
                    pytest.fail(f"no note says {part!r}: {getattr(error, '__notes__', [])}")
                raise

        return pytest.mark.xfail(strict=True, raises=raises, reason=f"note: {part}")(checked)

    return mark
