"""Where the real inputs stand that tests read and never copy: the folder `shared` beside the checkout."""

from __future__ import annotations

import json
import os
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import pytest

SHARED = Path(os.environ.get("SHARED_DIR", Path(__file__).resolve().parents[2] / "shared"))


def shared(*parts: str) -> Path:
    """A path in the folder; the test skips, saying so, where it is not there."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"{path} is not there")
    return path


@lru_cache(maxsize=1)
def _cases() -> dict[str, dict[str, Any]]:
    text = (SHARED / "bugs" / "reported-cases.json").read_bytes()
    return {case["id"]: case for case in msgspec.json.Decoder(float_hook=Decimal).decode(text)}


def reported(case_id: str) -> dict[str, Any]:
    """One case of the public bug reports."""
    shared("bugs", "reported-cases.json")
    return json.loads(json.dumps(_cases()[case_id], default=float))  # type: ignore[no-any-return]


def reported_ids(language: str) -> list[str]:
    """The ids of the public bug reports about a language."""
    shared("bugs", "reported-cases.json")
    return [name for name, case in _cases().items() if case["language"] == language]
