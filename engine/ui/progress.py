"""How far a run is: one line on a terminal, now and then a line in a log; amounts, rate, and how long it will take."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from engine.ui.visible import plain

STEPS = {"read": "reading", "judge": "judging", "write": "writing"}
TERMINAL, LOG = 0.2, 30.0


class ProgressLine:
    """Told the step, how much is done and of how much, it writes to `stream` every so often."""

    def __init__(self, stream: TextIO | None = None, *, shown: bool = True) -> None:
        self._stream = plain(stream if stream is not None else sys.stderr)  # amounts and words of ours alone
        self._terminal = self._stream.isatty()
        self._shown = shown
        self._step = ""
        self._since = self._last = time.monotonic()
        self._before = 0
        self._written = False

    def __call__(self, step: str, done: int, total: int) -> None:
        """Take in how far the run is; bytes where it reads, patients otherwise."""
        if not self._shown:
            return
        now = time.monotonic()
        if step != self._step:
            self._step, self._since, self._before = step, now, done
        if now - self._last < (TERMINAL if self._terminal else LOG):
            return
        self._last = now
        text = self.text(step, done, total, now - self._since)
        if self._terminal:
            self._stream.write(f"\r\x1b[K{text}")
            self._written = True
        else:
            self._stream.write(f"eligibility: {text}\n")
        self._stream.flush()

    def text(self, step: str, done: int, total: int, seconds: float) -> str:
        """One line; the rate is that of this step since it began."""
        rate = (done - self._before) / seconds if seconds > 0 else 0.0
        if step != "read":
            return f"{STEPS[step]}: {done:,} patients, {rate:,.0f} a second"
        left = f", {_duration((total - done) / rate)} left" if rate > 0 and total > done else ""
        return f"reading: {done / 1e6:,.0f} of {total / 1e6:,.0f} MB, {rate / 1e6:,.0f} MB/s{left}"

    def done(self) -> None:
        """Clear the line."""
        if self._written:
            self._stream.write("\r\x1b[K")
            self._stream.flush()


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
