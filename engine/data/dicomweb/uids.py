"""DICOM UIDs as text (PS3.5 section 9)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from stringzilla import contains

MAX_UID = 64
_UID = re.compile(r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))*")
_DIGITS = re.compile(r"[0-9]+(?:\.[0-9]+)*")
_LEADING_ZERO = re.compile(rb"[.\n]0[0-9]")


def valid_uid(text: str) -> bool:
    """Whether a text is a DICOM UID: digits and single dots, no leading zeros, at most 64 characters."""
    return len(text) <= MAX_UID and _UID.fullmatch(text) is not None


def safe_uid(text: str) -> bool:
    """Whether a UID that an archive or a file gives can be part of a path; leading zeros, which archives hold, are let pass."""
    return len(text) <= MAX_UID and _DIGITS.fullmatch(text) is not None


def all_plain(texts: Sequence[Any]) -> bool:
    """Whether all of some texts are valid UIDs as they stand, and differ: a few passes over all of them at once."""
    try:
        data = "\n".join(texts).encode("ascii")
    except (TypeError, UnicodeEncodeError):
        return False
    # what is left without digits is short
    left = data.translate(None, b"0123456789")
    if not data or left.translate(None, b".\n") or left.count(b"\n") != len(texts) - 1:
        return False
    if max(map(len, texts)) > MAX_UID or len(set(texts)) != len(texts):
        return False
    framed = b"\n%b\n" % data
    if contains(framed, b"..") or contains(framed, b".\n") or contains(framed, b"\n.") or contains(framed, b"\n\n"):
        return False
    return not (contains(framed, b".0") or contains(framed, b"\n0")) or _LEADING_ZERO.search(framed) is None
