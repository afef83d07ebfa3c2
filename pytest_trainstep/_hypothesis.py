"""What Hypothesis loads of us by itself, when it is imported: settings profiles. Torch-free; none is made current.

``hypothesis`` is imported by whoever loads this, so that nothing is imported for it.
"""

from __future__ import annotations


def register_profiles() -> None:
    """Register the profiles ``trainstep``, ``trainstep-ci`` and ``trainstep-nightly``, for those who load them."""
    from hypothesis import HealthCheck, settings
    from hypothesis.errors import InvalidArgument

    ordinary = settings.get_profile("default")
    try:
        quiet = settings.get_profile("ci")
    except InvalidArgument:  # before Hypothesis 6.117
        quiet = settings(ordinary, derandomize=True, database=None, print_blob=True)
    slow = [HealthCheck.too_slow]  # the first step of a process imports much of torch
    settings.register_profile("trainstep", ordinary, deadline=None, suppress_health_check=slow)
    settings.register_profile("trainstep-ci", quiet, deadline=None, suppress_health_check=slow, max_examples=25)
    settings.register_profile(
        "trainstep-nightly", ordinary, deadline=None, suppress_health_check=slow, max_examples=500
    )
