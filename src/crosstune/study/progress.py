"""Where a run stands: one line that moves on a terminal, plain lines in a log."""

from __future__ import annotations

import time
from typing import TextIO

from rich.console import Console
from rich.status import Status

from crosstune.models import Progress

SECONDS_BETWEEN_LINES = 10


class Reporter:
    """Tells what runs, how far it is and how long it still takes; silent without a stream.

    Args:
        stream: Where to tell; a terminal gets one moving line, anything else plain lines.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._console = Console(file=stream, highlight=False, markup=False) if stream else None
        self._status: Status | None = None
        self._all = self._before = self._stage = 0.0
        self._began = self._told = time.monotonic()

    def begin(self, units: float) -> None:
        """Start the clock; `units` are those of all stages to come, in any unit of work."""
        self._all, self._before, self._stage = units, 0.0, 0.0
        self._began = time.monotonic()
        if self._console and self._console.is_terminal:
            self._status = self._console.status("")
            self._status.start()

    def say(self, line: str) -> None:
        """Tell something that stays."""
        if self._console:
            self._console.print(line, soft_wrap=True)

    def stage(self, title: str, *, units: float) -> Progress:
        """Enter the next stage; the one before is over."""
        self._before += self._stage
        self._stage = units

        def progress(done: int, of: int, note: str) -> None:
            share = done / of if of else 1.0
            line = f"{self._far(share)}{title}: {done}/{of}{', ' if note else ''}{note}"
            self._update(line, over=done >= of)

        return progress

    def end(self) -> None:
        """Give the terminal back."""
        if self._status:
            self._status.stop()
        self._status = None

    def _far(self, share: float) -> str:
        done = (self._before + share * self._stage) / self._all if self._all else 0.0
        if done <= 0:
            return ""
        left = (time.monotonic() - self._began) * (1 - done) / done
        return f"{min(done, 1):4.0%}, {duration(left)} left · "

    def _update(self, line: str, *, over: bool) -> None:
        if self._status:
            self._status.update(line)
        elif over or time.monotonic() - self._told >= SECONDS_BETWEEN_LINES:
            self._told = time.monotonic()
            self.say(line)


def duration(seconds: float) -> str:
    """A length of time for people.

    Example:
        >>> duration(5), duration(200), duration(9000)
        ('5 s', '3 min', '2.5 h')
    """
    if seconds < 90:
        return f"{max(seconds, 0):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
