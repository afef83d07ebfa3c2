"""`--trainstep-explain`: print what a cause means, in the manner of `rustc --explain`."""

from __future__ import annotations

import pytest


def explain(name: str) -> str:
    """Return the catalogue's entry of that name, or without a name the list of them.

    Raises:
        pytest.UsageError: No cause has this name; those that resemble it are named.
    """
    from pytest_trainstep._diagnose import catalogue

    if not name:
        return catalogue.listing()
    try:
        return catalogue.explain(name)
    except KeyError as unknown:
        message = f"--trainstep-explain: {unknown.args[0]} (without a name, all are listed)"
        raise pytest.UsageError(message) from None
