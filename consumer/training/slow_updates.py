"""Noticing that something holds a training up."""

from __future__ import annotations

from statistics import median

FACTOR = 10  # times the usual
NOTICEABLE = 1.0  # seconds
_FIRST = 3  # updates after which the usual is known
_KEPT = 50  # updates that the usual is taken from


class SlowUpdates:
    """Says once when an update takes ten times as long as the updates before it."""

    def __init__(self) -> None:
        self._seconds: list[float] = []
        self._warned = False

    def observe(self, seconds: float, threads: int) -> str | None:
        """Take in how long an update took; a warning for a person where it is the first slow one.

        Args:
            seconds: of the update alone, without validation.
            threads: that it ran on.
        """
        usual = median(self._seconds) if len(self._seconds) >= _FIRST else None
        if usual is not None and seconds > max(FACTOR * usual, NOTICEABLE):
            if self._warned:
                return None
            self._warned = True
            fewer = "; interrupt and start again with --threads 1" if threads > 1 else ""
            return (
                f"an update took {seconds:.1f} s, and {usual:.2g} s before: other work keeps this "
                f"machine's processors busy{fewer}"
            )
        self._seconds = [*self._seconds, seconds][-_KEPT:]
        return None
