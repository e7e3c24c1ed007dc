"""Worker processes that are fed one task after the other: a worker that is killed is replaced and its task given out again."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from fhir_eligibility.runners.large.collector import relax

TRIES = 3
_parent: list[int] = []
"""In a worker, the process that it works for."""


class WorkerLost(RuntimeError):
    """A task during which worker processes were killed again and again."""


class _Raised:
    """An exception of a task, on its way to the parent."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


def _serve(connection: Connection, others: list[Connection], start: Callable[..., Any], state: Any) -> None:
    """The life of a worker: set up once, then task after task until the parent is done or gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for other in others:
        other.close()
    _parent.append(os.getppid())
    threading.Thread(target=_watch, args=_parent[-1:], daemon=True).start()
    work = start(state)
    relax()
    while True:
        try:
            task = connection.recv()
        except (EOFError, OSError):
            return
        if task is None:
            return
        try:
            result = work(task)
        except BaseException as error:
            result = _Raised(_portable(error))
        try:
            connection.send(result)
        except (BrokenPipeError, OSError):
            return


def _portable(error: BaseException) -> BaseException:
    """An error as it can be handed to another process: itself, or what it says where it cannot be taken apart and put together."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{error.__class__.__name__}: {error}")
    return error


def is_left_alone() -> bool:
    """Whether this is a worker whose run was killed: what it writes now may be in the way of another run."""
    return bool(_parent) and os.getppid() != _parent[-1]


def _watch(parent: int) -> None:
    """End a worker whose parent was killed."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


class Workers:
    """`jobs` processes, each set up by `start(state)`, which gives the function that does a task. One job runs here, without a process."""

    def __init__(self, jobs: int, start: Callable[[Any], Callable[[Any], Any]], state: Any) -> None:
        self.jobs = jobs
        self._start = start
        self._state = state
        self._here: Callable[[Any], Any] | None = None
        # a method that the program has set goes before; elsewhere than on Linux, forked processes are not safe
        chosen = multiprocessing.get_start_method(allow_none=True) or ("fork" if sys.platform == "linux" else "spawn")
        self._context = multiprocessing.get_context(chosen)
        self._running: dict[Connection, BaseProcess] = {}

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        for connection, process in self._running.items():
            process.terminate()
            connection.close()
        for process in self._running.values():
            process.join()
        self._running.clear()

    def _spawn(self) -> Connection:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(  # type: ignore[attr-defined]
            target=_serve, args=(theirs, [ours, *self._running], self._start, self._state), daemon=True
        )
        process.start()
        theirs.close()
        self._running[ours] = process
        return ours

    def run(self, tasks: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        """Do tasks; gives each with its result as it is done, in no order. Raises what a task raises, and WorkerLost."""
        if self.jobs <= 1:
            if self._here is None:
                self._here = self._start(self._state)
            for task in tasks:
                yield task, self._here(task)
            return
        waiting = deque((task, 1) for task in tasks)
        busy: dict[Connection, tuple[Any, int]] = {}
        while waiting or busy:
            idle = [connection for connection in self._running if connection not in busy]
            while waiting and (idle or len(self._running) < self.jobs):
                connection = idle.pop() if idle else self._spawn()
                task, tries = waiting.popleft()
                busy[connection] = task, tries
                with contextlib.suppress(BrokenPipeError, OSError):
                    connection.send(task)
            for ready in wait(list(busy)):
                assert isinstance(ready, Connection)
                task, tries = busy.pop(ready)
                try:
                    result = ready.recv()
                except (EOFError, OSError):
                    process = self._running.pop(ready)
                    ready.close()
                    process.join()
                    if tries >= TRIES:
                        raise WorkerLost(
                            f"a worker process was killed {TRIES} times at the same work (exit status {process.exitcode}); "
                            "if memory is short, give less with --memory or --jobs"
                        ) from None
                    waiting.append((task, tries + 1))
                    continue
                if isinstance(result, _Raised):
                    raise result.error
                yield task, result
