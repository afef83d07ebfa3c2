"""Seed the random streams that are in play. Nothing is imported for it: a library not imported has drawn no number."""

from __future__ import annotations

import random
import sys

LIMIT = 2**32
"""Seeds are below this, because numpy takes no others."""


def seed_streams(seed: int) -> None:
    """Seed Python's, numpy's and torch's global streams, the last two only where they have been imported."""
    random.seed(seed)
    seed_numpy = getattr(getattr(sys.modules.get("numpy"), "random", None), "seed", None)
    if seed_numpy is not None:
        seed_numpy(seed)
    seed_torch(seed)


def seed_torch(seed: int) -> None:
    """Seed torch's streams, on every device, if torch has been imported."""
    # Not every module of that name is torch: suites put stand-ins there to test life without it.
    manual_seed = getattr(sys.modules.get("torch"), "manual_seed", None)
    if manual_seed is not None:
        manual_seed(seed)
