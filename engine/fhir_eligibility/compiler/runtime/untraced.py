"""What traced code reports where there is no patient: nothing, since rows in doubt are a patient's. CQL's own answer stands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def _nothing(*reported: Any) -> None:
    return None


def _dropped(site: int, row: Any, clause: int) -> bool:
    return False


class Untraced:
    """Takes what emitted code reports of rows, and keeps none of it; a row whose condition is unknown is dropped."""

    passed: Callable[[int, Any], None] = staticmethod(_nothing)
    failed: Callable[[int, Any, int], None] = staticmethod(_nothing)
    series: Callable[[Any], None] = staticmethod(_nothing)
    unknown: Callable[[int, Any, Any], None] = staticmethod(_nothing)
    doubt: Callable[[int, Any, int], bool] = staticmethod(_dropped)
    explained: Callable[[int, Any], None] = staticmethod(_nothing)
