"""Whether a statement on a page is good news, a warning or bad news."""

from __future__ import annotations

import enum


class Mood(enum.StrEnum):
    """The colour of an answer, a finding or a verdict; its value is a CSS class of the stylesheet."""

    GOOD = "good"
    WARN = "warn"
    BAD = "bad"
    PLAIN = "plain"
    """Neither good nor bad."""
