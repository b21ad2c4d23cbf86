"""Whether what a page says is well."""

from __future__ import annotations

import enum


class Mood(enum.StrEnum):
    """The colour of an answer, a finding or a verdict: the class that the stylesheet knows."""

    GOOD = "good"
    WARN = "warn"
    BAD = "bad"
    PLAIN = "plain"
    """Neither well nor bad."""
