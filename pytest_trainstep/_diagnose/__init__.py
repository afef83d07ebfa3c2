"""The mind: causes as ordered, pure rules over a record; the finding and its text. No torch."""

from .finding import Finding as Finding
