"""STOW-RS: files to an archive, and what the answer says of each, whatever its HTTP status (PS3.18 section 10.5)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

from fhir_eligibility.data.archives.client import Client
from fhir_eligibility.data.archives.multipart import FileParts, media_type
from fhir_eligibility.data.archives.qido import number_of, text_of

JSON = "application/dicom+json"
REFERENCED, FAILED, OTHER_FAILURES = "00081199", "00081198", "0008119A"
INSTANCE, REASON, WARNING = "00081155", "00081197", "00081196"

_WORDS = {
    0x0110: "processing failure",
    0x0111: "there is already such an instance",
    0x0117: "invalid SOP instance",
    0x0122: "the SOP class is not supported",
    0x0124: "not authorized",
    0xA700: "out of resources",
    0xA900: "the data set does not match its SOP class",
    0xB000: "values were coerced",
    0xB006: "elements were discarded",
    0xB007: "the data set does not match its SOP class",
    0xC122: "the transfer syntax is not supported",
}


class UploadAnswer(Struct):
    """An answer to an upload: its status, and by SOP Instance UID the warning or failure reason (None: taken as it is).

    `unnamed` are the reasons of failures without a UID.
    """

    status: int
    taken: dict[str, int | None] = field(default_factory=dict)
    refused: dict[str, int | None] = field(default_factory=dict)
    unnamed: list[int | None] = field(default_factory=list)
    readable: bool = False
    content_type: str = ""

    @property
    def refuses(self) -> bool:
        """Whether the status says that what is not named was not stored (PS3.18 section 10.5.3: 400, 409, and other 4xx)."""
        return 400 <= self.status < 500


def store(client: Client, base: str, paths: Sequence[Path]) -> UploadAnswer:
    """Send files in one request. Raises ArchiveFailure where there is no answer, OSError for files that cannot be read."""
    body = FileParts(paths)
    headers = {"Content-Type": body.content_type, "Content-Length": str(len(body)), "Accept": JSON}
    status, content_type, answer = client.post(f"{base}/studies", headers, lambda: body)
    return read_answer(status, content_type, answer)


def read_answer(status: int, content_type: str, answer: bytes) -> UploadAnswer:
    """The answer of an archive as what became of each instance."""
    kind, _ = media_type(content_type)
    found = UploadAnswer(status, content_type=kind)
    try:
        data = msgspec.json.decode(answer)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return found
    if isinstance(data, list):
        data = data[0] if len(data) == 1 else None
    if not isinstance(data, dict):
        return found
    found.readable = True
    for item in _items(data, REFERENCED):
        uid = text_of(item, INSTANCE)
        if uid is not None:
            found.taken[uid] = number_of(item, WARNING)
    for item in _items(data, FAILED):
        uid = text_of(item, INSTANCE)
        if uid is None:
            found.unnamed.append(number_of(item, REASON))
            continue
        found.refused[uid] = number_of(item, REASON)
        found.taken.pop(uid, None)
    found.unnamed += [number_of(item, REASON) for item in _items(data, OTHER_FAILURES)]
    return found


def words_of(code: int) -> str:
    """A failure or warning reason in words (PS3.18 table I.2-2, PS3.4 table GG.4-1)."""
    if code in _WORDS:
        return _WORDS[code]
    family = code & 0xF000
    if code & 0xFF00 == 0xA700:
        return "out of resources"
    if code & 0xFF00 == 0xA900:
        return _WORDS[0xA900]
    return "the archive does not understand it" if family == 0xC000 else "a reason of the archive's own"


def _items(data: dict[str, Any], tag: str) -> list[dict[str, Any]]:
    element = data.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return [item for item in values if isinstance(item, dict)] if isinstance(values, list) else []
