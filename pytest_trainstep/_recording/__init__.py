"""Recorded runs: regression tests of training itself, kept as small JSON files beside the tests."""

from .fixture import Recording as Recording
from .session import RecordingSession as RecordingSession
from .session import declare as declare
