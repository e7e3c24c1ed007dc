"""Where inputs stand that tests read and do not hold themselves: in the archives of `tests/inputs`, or in a folder beside the checkout."""

from __future__ import annotations

import json
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.inputs import input_path


def shared(*parts: str) -> Path:
    """A path of an input; the test skips, saying so, where it may not be handed on and is not there."""
    path = input_path(*parts)
    if not path.exists():
        pytest.skip(f"{path} is not there (it may not be handed on; SHARED_DIR names a folder that has it)")
    return path


@lru_cache(maxsize=1)
def _cases() -> dict[str, dict[str, Any]]:
    text = shared("bugs", "reported-cases.json").read_bytes()
    return {case["id"]: case for case in msgspec.json.Decoder(float_hook=Decimal).decode(text)}


def reported(case_id: str) -> dict[str, Any]:
    """One case of the public bug reports."""
    return json.loads(json.dumps(_cases()[case_id], default=float))  # type: ignore[no-any-return]


def reported_ids(language: str) -> list[str]:
    """The ids of the public bug reports about a language."""
    return [name for name, case in _cases().items() if case["language"] == language]
