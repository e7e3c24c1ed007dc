"""Room for the recursion of a compiler over nested expressions, and how deeply an author may nest them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_DEPTH = 20_000


@contextmanager
def deep_recursion() -> Iterator[None]:
    """Room for the recursion of a compiler over nested expressions."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(max(limit, _DEPTH))
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)
