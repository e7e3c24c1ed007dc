"""Work on several threads, never more of it under way than the bound, so that memory stays flat however long the input."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")


def in_order(work: Callable[[A], B], items: Iterable[A], bound: int, stop: Callable[[], None]) -> Iterator[B]:
    """Results in the order of the items. `stop` is called where the work ends early, so that no thread keeps waiting."""
    with ThreadPoolExecutor(max_workers=bound) as threads:
        waiting: deque[Future[B]] = deque()
        try:
            for item in items:
                waiting.append(threads.submit(work, item))
                if len(waiting) > bound:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BaseException:
            stop()
            threads.shutdown(wait=False, cancel_futures=True)
            raise


def as_they_come(work: Callable[[A], B], items: Iterable[A], bound: int, stop: Callable[[], None]) -> Iterator[B]:
    """Results as they are done. `stop` is called where the work ends early, so that no thread keeps waiting."""
    with ThreadPoolExecutor(max_workers=bound) as threads:
        waiting: set[Future[B]] = set()
        try:
            for item in items:
                waiting.add(threads.submit(work, item))
                if len(waiting) > bound:
                    done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    for future in done:
                        yield future.result()
            while waiting:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        except BaseException:
            stop()
            threads.shutdown(wait=False, cancel_futures=True)
            raise


def batched(items: Iterable[A], size: int) -> Iterator[list[A]]:
    """Items in lists of at most `size`."""
    batch: list[A] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
