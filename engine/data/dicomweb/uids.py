"""DICOM UIDs as text (PS3.5 section 9)."""

from __future__ import annotations

import re

MAX_UID = 64
_UID = re.compile(r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))*")
_DIGITS = re.compile(r"[0-9]+(?:\.[0-9]+)*")


def valid_uid(text: str) -> bool:
    """Whether a text is a DICOM UID: digits and single dots, no leading zeros, at most 64 characters."""
    return len(text) <= MAX_UID and _UID.fullmatch(text) is not None


def safe_uid(text: str) -> bool:
    """Whether a UID that an archive or a file gives can be part of a path; leading zeros, which archives hold, are let pass."""
    return len(text) <= MAX_UID and _DIGITS.fullmatch(text) is not None
