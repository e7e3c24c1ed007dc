"""A limit on the time that one criterion takes for one patient, in whatever thread or process it is evaluated.

One thread of the process watches what the others evaluate. Where one has been at the same evaluation for longer than its limit, `Overdue` is
raised in it, between two steps of its Python code. Evaluating costs a few attributes; nothing reads the clock but the thread that watches.

An evaluation that is ended leaves nothing half done behind: what is made lazily is assigned when it is whole, and the memory of a patient's
definitions is another for each criterion. That `Overdue` never reaches what comes next is by two steps, each of which can only be undone by the
other: the evaluation says that it has ended and then looks whether it was raised; the thread that watches says that it raises, and then
looks whether the evaluation has ended.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Callable
from decimal import getcontext
from functools import partial
from typing import Any, ParamSpec, TypeVar

from fhir_eligibility.algebra import limits
from fhir_eligibility.algebra.diagnostic import EvaluationError

SECONDS = 10.0
"""What a criterion may take for one patient where nothing else is said."""
_AGAIN = 1.0  # seconds after which it is raised again where something kept it from arriving, such as a destructor
_IDLE = 2.0  # seconds without an evaluation after which nobody watches any more
P = ParamSpec("P")
R = TypeVar("R")
_restart = limits.restart


class Overdue(BaseException):
    """Raised in a thread whose evaluation has exceeded its limit; nothing outside of this module sees it."""


class _Watch:
    """What one thread evaluates: the number of the evaluation, 0 for none."""

    __slots__ = ("again", "count", "fired", "precision", "running", "seconds", "seen", "since", "thread")

    def __init__(self) -> None:
        self.thread = threading.current_thread()
        self.running = self.count = 0
        self.seconds = 0.0
        self.precision = getcontext().prec
        self.fired = False
        # of the thread that watches
        self.seen = 0
        self.since = self.again = 0.0

    def run(self, function: Callable[..., R], *arguments: Any) -> R:
        """What a function gives. Raises EvaluationError `limit-exceeded` where it takes longer than `seconds`, and whatever it raises."""
        if self.running:
            return function(*arguments)
        _restart()
        self.count = number = self.count + 1
        failure: BaseException | None = None
        late = False
        try:
            try:
                self.running = number
                if not _state.watching:
                    _start()
                found = function(*arguments)
                self.running = 0
            except Overdue:
                self.running = 0
                late = True
            except BaseException as error:
                self.running = 0
                failure = error
            if self.fired:
                self.take_back()
        except Overdue:
            self.running = 0
            late = True
            self.take_back()
        if late:
            getcontext().prec = self.precision
            limits.exceeded(f"it takes longer than {self.seconds:g} seconds")
        if failure is not None:
            raise failure
        return found

    def take_back(self) -> None:
        """Take back what was raised and has not arrived."""
        with _state.lock:
            _raise_in(self.thread.ident, None)
            self.fired = False


class _State:
    """Who is watched, and whether anyone watches. A process that was forked starts with nobody."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.watches: list[_Watch] = []
        self.watching = False
        self.here = threading.local()


_state = _State()


def _forget() -> None:
    global _state
    _state = _State()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _raise_in(thread: int | None, error: type[BaseException] | None) -> None:
    if thread is not None:
        raised = None if error is None else ctypes.py_object(error)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), raised)


def _own() -> _Watch:
    """The watch of this thread."""
    found: _Watch | None = getattr(_state.here, "watch", None)
    if found is None:
        found = _state.here.watch = _Watch()
        with _state.lock:
            _state.watches.append(found)
    return found


class TimeLimit:
    """A limit in seconds, 0 for none."""

    def __init__(self, seconds: float = SECONDS) -> None:
        if not 0 <= seconds < 1e9:
            raise ValueError(f"a limit of time is a number of seconds, 0 for none, not {seconds}")
        self.seconds = float(seconds)

    def runner(self) -> Callable[..., Any]:
        """What runs functions of this thread within the limit: call it with a function and its operands.

        It raises EvaluationError `limit-exceeded` where that takes longer, and whatever the function raises. Inside of another limit that
        other one counts.
        """
        if not self.seconds:
            return _unlimited
        watch = _own()
        if not watch.running:
            watch.seconds = self.seconds
            watch.precision = getcontext().prec
        return watch.run

    def run(self, function: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
        """What a function gives, within the limit."""
        found: R = self.runner()(
            partial(function, *arguments, **named) if named else function, *(() if named else arguments)
        )
        return found


def _unlimited(function: Callable[..., R], *arguments: Any) -> R:
    _restart()
    return function(*arguments)


NO_LIMIT = TimeLimit(0)


def _start() -> None:
    with _state.lock:
        if not _state.watching:
            _state.watching = True
            threading.Thread(target=_watch, args=(_state,), name="time limits", daemon=True).start()


def _watch(state: _State) -> None:
    """Look at all threads every now and then, as long as any of them evaluates."""
    busy = time.monotonic()
    while True:
        with state.lock:
            now = time.monotonic()
            state.watches[:] = [watch for watch in state.watches if watch.thread.is_alive()]
            pause = 0.25
            for watch in state.watches:
                if watch.running or watch.count != watch.seen:
                    busy = now
                    pause = min(pause, max(0.01, watch.seconds / 8))
                _look(watch, now)
            if now - busy > _IDLE:
                state.watching = False
                if not any(watch.running for watch in state.watches):
                    return
                state.watching = True
        time.sleep(pause)


def _look(watch: _Watch, now: float) -> None:
    running = watch.running
    if not running or running != watch.seen:
        watch.seen, watch.since, watch.again = watch.count if not running else running, now, 0.0
        return
    if now - watch.since >= watch.seconds and now >= watch.again:
        watch.fired = True
        if watch.running == running:
            _raise_in(watch.thread.ident, Overdue)
            watch.again = now + _AGAIN


def limited(seconds: float, what: str, function: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
    """As `TimeLimit.run`, with what it was that took too long in the message."""
    try:
        return TimeLimit(seconds).run(function, *arguments, **named)
    except EvaluationError as error:
        if error.code == limits.CODE and error.span is None and error.message.startswith("it takes longer"):
            raise EvaluationError(limits.CODE, f"{what} {error.message.removeprefix('it ')}") from None
        raise
