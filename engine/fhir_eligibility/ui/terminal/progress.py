"""How far a run is: one line on a terminal, now and then a record of the log; amounts, rate, and how long it will take."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from fhir_eligibility.ui.terminal.logs import Step, say
from fhir_eligibility.ui.terminal.visible import plain

STEPS: dict[str, Step] = {"read": "reading", "ask": "asking", "judge": "judging", "write": "writing"}
TERMINAL, LOG = 0.2, 30.0


class ProgressLine:
    """Takes in the step, how much is done and of how much; writes a line to a terminal (`shown`) and records to the log every so often."""

    def __init__(self, stream: TextIO | None = None, *, shown: bool = True) -> None:
        self._stream = plain(stream if stream is not None else sys.stderr)  # amounts and words of ours alone
        self._terminal = shown and self._stream.isatty()
        self._step = ""
        self._since = self._last = self._logged = time.monotonic()
        self._before = 0
        self._written = False

    def __call__(self, step: str, done: int, total: int) -> None:
        """Take in how far the run is; bytes where it reads, patients otherwise."""
        now = time.monotonic()
        if step != self._step:
            self._step, self._since, self._before = step, now, done
            self._log(step, done, total, f"{STEPS[step]} begins", log_only=True)
        if self._terminal and now - self._last >= TERMINAL:
            self._last = now
            self._stream.write(f"\r\x1b[K{self.text(step, done, total, now - self._since)}")
            self._stream.flush()
            self._written = True
        if now - self._logged >= LOG:
            self._logged = now
            self._log(step, done, total, self.text(step, done, total, now - self._since), log_only=self._terminal)

    def _log(self, step: str, done: int, total: int, text: str, *, log_only: bool) -> None:
        counts = {"bytes": done, "bytes_total": total} if step == "read" else {"patients": done}
        say(text, step=STEPS[step], log_only=log_only, **counts)

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
