"""Recorded runs: regression tests of training itself, kept as small JSON files beside the tests.

What every start of pytest pays for is `session` alone; the rest is fetched by the first test that records.
"""

from .session import RecordingSession as RecordingSession
from .session import declare as declare
