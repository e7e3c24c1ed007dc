"""Python's cyclic garbage collector while many patients are decoded: what is loaded is set aside, and it looks seldom.

Decoded data has no cycles; the collector would walk through it again and again and find nothing.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

SELDOM = (200_000, 20, 100)


def relax() -> None:
    """For the rest of the process."""
    gc.freeze()
    gc.set_threshold(*SELDOM)


@contextmanager
def relaxed() -> Iterator[None]:
    """For a while."""
    before = gc.get_threshold()
    relax()
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
