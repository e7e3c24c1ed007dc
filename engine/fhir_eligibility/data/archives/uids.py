"""DICOM UIDs as text (PS3.5 section 9)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from stringzilla import contains, count, find_first_not_of

MAX_UID = 64
_UID = re.compile(r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))*")
_DIGITS = re.compile(r"[0-9]+(?:\.[0-9]+)*")
_LEADING_ZERO = re.compile(rb'(?:\A|[."])0[0-9]')
ZERO = ord("0")


def valid_uid(text: str) -> bool:
    """Whether a text is a DICOM UID: digits and single dots, no leading zeros, at most 64 characters."""
    return len(text) <= MAX_UID and _UID.fullmatch(text) is not None


def safe_uid(text: str) -> bool:
    """Whether a UID that an archive or a file gives can be part of a path; leading zeros, which archives hold, are let pass."""
    return len(text) <= MAX_UID and _DIGITS.fullmatch(text) is not None


def all_plain(texts: Sequence[Any]) -> bool:
    """Whether all of some texts are valid UIDs as they stand, and differ."""
    return arrays_of(texts, ()) is not None


def arrays_of(owners: Sequence[Any], below: Sequence[Sequence[Any]]) -> list[str] | None:
    """The UIDs below each owner as a JSON array; None unless all of them and the owners are valid as they stand, and differ.

    All are looked at together, in a few searches over one text.
    """
    number = len(owners) + sum(map(len, below))
    try:
        joined = ['","'.join(texts) for texts in below]
        data = '","'.join([*owners, *filter(None, joined)]).encode("ascii")
        different = set(owners).union(*below)
    except (TypeError, UnicodeEncodeError):
        return None
    if len(different) != number or not data[:1].isdigit() or not data[-1:].isdigit():
        return None
    # a quote or comma of their own would be one too many, a missing text one too few
    if (
        find_first_not_of(data, b'0123456789.",') >= 0
        or count(data, b'"') != 2 * number - 2
        or count(data, b",") != number - 1
    ):
        return None
    if contains(data, b"..") or contains(data, b'."') or contains(data, b'".') or contains(data, b'""'):
        return None
    if max(map(len, different)) > MAX_UID:
        return None
    if (contains(data, b".0") or contains(data, b'"0') or data[0] == ZERO) and _LEADING_ZERO.search(data):
        return None
    return [f'["{texts}"]' if texts else "[]" for texts in joined]
