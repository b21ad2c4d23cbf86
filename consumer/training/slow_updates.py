"""Notice that other work slows a training down."""

from __future__ import annotations

from statistics import median

FACTOR = 10  # times the usual duration
NOTICEABLE = 1.0  # seconds
_FIRST = 3  # updates before a usual duration is known
_KEPT = 50  # updates whose median is the usual duration


class SlowUpdates:
    """Warns once, when an update takes ten times as long as the updates before it."""

    def __init__(self) -> None:
        self._seconds: list[float] = []
        self._warned = False

    def observe(self, seconds: float, threads: int) -> str | None:
        """Record the duration of an update, and return a warning if it is the first slow one.

        Args:
            seconds: duration of the update, without validation.
            threads: number of threads that the update ran on.
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
