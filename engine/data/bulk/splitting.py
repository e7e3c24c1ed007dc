"""The entries of a bundle by its text alone: what stands between them is searched for, so that what no criterion reads is never parsed.

In JSON the text `"resource"` is the name of a member, or a string (a closing quote cannot be followed by a letter; inside a string, quotes have a backslash,
so that the text stands there at most where the string ends). A bundle whose entries all begin in the same way - `fullUrl`, `resource`, its type - as often
as `"resource"` occurs at all therefore has these entries and no other resources. That holds only without Bundles and Parameters in it, which have such
members as well (the caller looks for these), and without characters written as `\\u00..`, which could hide one. Any other bundle is not split here.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
import stringzilla as sz

_FIRST = re.compile(
    rb'"entry"\s*:\s*\[\s*(?P<begin>\{\s*"fullUrl"\s*:\s*")(?P<url>[^"\\]*)(?P<type>"\s*,\s*"resource"\s*:\s*\{\s*"resourceType"\s*:\s*")'
)
_RESOURCE = b'"resource"'
# Entries that tell what became of a request have no resource, and count among the entries all the same.
_RESPONSE = b'"response"'
TYPE = b'{"resourceType":"'
SPACE = b" \t\r\n"
# How far into a bundle its entries begin at the latest.
_HEAD = 4096


class _Head(msgspec.Struct, gc=False):
    resourceType: str | None = None
    type: Any = None


class _Entry(msgspec.Struct, gc=False):
    resource: msgspec.Raw


class _Rest(msgspec.Struct, gc=False):
    entry: list[_Entry]
    type: Any = None


_head = msgspec.json.Decoder(_Head).decode
_entry = msgspec.json.Decoder(_Entry).decode
_rest = msgspec.json.Decoder(_Rest).decode
_text = msgspec.json.Decoder(str).decode


class Split:
    """The entries of a bundle. `starts` are the places in its text where the names of their types begin; `kinds` are the numbers of the entries of each.

    `type` is that of the bundle.
    """

    __slots__ = ("_before", "_begin", "_first", "_last", "_width", "kinds", "starts", "text", "type")

    def __init__(
        self,
        text: bytes,
        starts: list[int],
        kinds: dict[bytes, list[int]],
        found: re.Match[bytes],
        last: bytes,
        bundle_type: Any,
    ) -> None:
        self.type = bundle_type
        self.starts = starts
        self.kinds = kinds
        self.text = text
        self._begin: bytes = found["begin"]
        self._width = len(found["type"])
        # from the brace that opens a resource to the name of its type
        self._before = self._width - found["type"].rindex(b"{")
        self._first: bytes = found["url"]
        self._last = last

    def piece(self, index: int) -> bytes:
        """An entry from the name of its type on, and what follows up to where the next one says that it has a resource."""
        if index == len(self.starts) - 1:
            return self.text[self.starts[index] :]
        return self.text[self.starts[index] : self.starts[index + 1] - self._width]

    def full_url(self, index: int) -> str:
        """The fullUrl of an entry. Raises BAD_JSON."""
        if index == 0:
            return self._first.decode()
        end = self.starts[index] - self._width
        url = self.text[self._next(index - 1) + len(self._begin) : end]
        return _text(b'"%b"' % url) if b"\\" in url or b'"' in url else url.decode()

    def resource(self, index: int) -> bytes:
        """The text of an entry's resource; where other members follow it in the entry, it is no JSON, and `exactly` tells."""
        if index == len(self.starts) - 1:
            return self._last
        # without the brace that closes the entry
        return self.text[self.starts[index] - self._before : self._end(index) - 1]

    def exactly(self, index: int) -> bytes:
        """The text of an entry's resource. Raises BAD_JSON."""
        entry = self.text[self.starts[index] - self._before : self._end(index)]
        return bytes(_entry(b'{"resource":%b' % entry).resource)

    def _next(self, index: int) -> int:
        """Where the next entry begins."""
        return self.text.rfind(self._begin, self.starts[index], self.starts[index + 1] - self._width)

    def _end(self, index: int) -> int:
        """Where an entry ends: what stands before the comma before the next entry."""
        text = self.text
        at = self._next(index) - 1
        while text[at] in SPACE:
            at -= 1
        at -= 1
        while text[at] in SPACE:
            at -= 1
        return at + 1


def split(text: bytes) -> Split | None:
    """The entries of a bundle, None where its text does not tell."""
    found = _FIRST.search(text, 0, _HEAD)
    if found is None:
        return None
    before = found["type"]
    starts: list[int] = []
    kinds: dict[bytes, list[int]] = {}
    find, width, at = text.find, len(before), found.start("type")
    while at >= 0:
        at += width
        name = text[at : find(b'"', at)]
        same = kinds.get(name)
        if same is None:
            kinds[name] = [len(starts)]
        else:
            same.append(len(starts))
        starts.append(at)
        at = sz.find(text, before, at)
    count = len(starts)
    if sz.count(text, found["begin"]) != count or sz.count(text, _RESOURCE) != count or sz.contains(text, _RESPONSE):
        return None
    try:
        # the list of entries is that of the bundle itself, and it is closed
        head: Any = _head(text[: found.start()] + b'"entry":[]}')
        rest = _rest(b'{"entry":[{"resource":%b%b' % (TYPE, text[starts[-1] :]))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if head.resourceType != "Bundle" or len(rest.entry) != 1:
        return None
    return Split(text, starts, kinds, found, bytes(rest.entry[0].resource), rest.type or head.type)
