"""A real archive behind a proxy that bends what it says: page sizes, rows, missing services."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from tests.imaging.orthanc import Orthanc
from tests.imaging.stub import Asked, Reply

Bend = Callable[[Asked, Callable[[Asked], Reply]], Reply]


class Bent:
    """Answers a stub's requests by asking an archive, as one of the ways below says."""

    def __init__(self, orthanc: Orthanc, way: str) -> None:
        self.orthanc = orthanc
        self.bend = WAYS[way]

    def __call__(self, asked: Asked) -> Reply:
        return self.bend(asked, self.forward)

    def forward(self, asked: Asked) -> Reply:
        """What the archive itself answers."""
        query = urlencode([(name, value) for name, values in asked.query.items() for value in values], safe=",")
        url = f"{self.orthanc.root}{asked.path}{'?' + query if query else ''}"
        request = urllib.request.Request(url, headers={"Accept": asked.headers["accept"]}, method=asked.method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=30) as answer:
                return Reply(answer.status, answer.read(), answer.headers.get("Content-Type", ""))
        except urllib.error.HTTPError as error:
            return Reply(error.code, error.read(), error.headers.get("Content-Type", ""))


def is_search(asked: Asked) -> bool:
    return "json" in asked.headers["accept"]


def is_series(asked: Asked) -> bool:
    """Whether a series is to be retrieved whole."""
    return not is_search(asked) and asked.path.split("/")[-2] == "series"


def edited(change: Callable[[list[dict[str, Any]]], list[Any]]) -> Bend:
    """Rows of searches as a test makes them."""

    def bend(asked: Asked, forward: Callable[[Asked], Reply]) -> Reply:
        reply = forward(asked)
        if is_search(asked) and reply.status == 200:
            reply.body = json.dumps(change(json.loads(reply.body))).encode()
        return reply

    return bend


def limited(most: int) -> Bend:
    """Refuses a limit that is larger, as Azure's archive does."""

    def bend(asked: Asked, forward: Callable[[Asked], Reply]) -> Reply:
        if int(asked.query.get("limit", ["1"])[0]) > most:
            return Reply(400, b'{"error": "limit"}', "application/json")
        return forward(asked)

    return bend


def capped(most: int, *, offset: bool = True) -> Bend:
    """Gives so many rows at once, whatever was asked for; without `offset` always the first."""

    def bend(asked: Asked, forward: Callable[[Asked], Reply]) -> Reply:
        if not is_search(asked):
            return forward(asked)
        begin = int(asked.query.pop("offset", ["0"])[0]) if offset else 0
        asked.query.pop("limit", None)
        if not offset:
            asked.query.pop("offset", None)
        reply = forward(asked)
        if reply.status == 200:
            reply.body = json.dumps(json.loads(reply.body)[begin : begin + most]).encode()
        return reply

    return bend


def unfiltered(asked: Asked, forward: Callable[[Asked], Reply]) -> Reply:
    """A folder of files: all rows of a level, whatever is searched for."""
    if is_search(asked):
        asked.query = {name: values for name, values in asked.query.items() if name == "includefield"}
    return forward(asked)


def no_series(status: int) -> Bend:
    def bend(asked: Asked, forward: Callable[[Asked], Reply]) -> Reply:
        return Reply(status, b"no", "text/plain") if is_series(asked) else forward(asked)

    return bend


def no_pictures(status: int) -> Bend:
    def bend(asked: Asked, forward: Callable[[Asked], Reply]) -> Reply:
        return Reply(status, b"", "text/plain") if asked.path.endswith("/rendered") else forward(asked)

    return bend


def lower(rows: list[dict[str, Any]]) -> list[Any]:
    return [{tag.lower(): element for tag, element in row.items()} for row in rows]


def without(*tags: str) -> Callable[[list[dict[str, Any]]], list[Any]]:
    return lambda rows: [{tag: element for tag, element in row.items() if tag not in tags} for row in rows]


KEYWORDS = {"0020000D": "StudyInstanceUID", "0020000E": "SeriesInstanceUID", "00080018": "SOPInstanceUID"}
WAYS: dict[str, Bend] = {
    "straight": lambda asked, forward: forward(asked),
    "at most 200": limited(200),
    "at most 50": limited(50),
    "at most 10": limited(10),
    "one row": capped(1),
    "three rows": capped(3),
    "first row only": capped(1, offset=False),
    "unfiltered": unfiltered,
    "no series 404": no_series(404),
    "no series 405": no_series(405),
    "no series 406": no_series(406),
    "no series 501": no_series(501),
    "no pictures 404": no_pictures(404),
    "no pictures 405": no_pictures(405),
    "no pictures 501": no_pictures(501),
    "lower case": edited(lower),
    "keywords": edited(lambda rows: [{KEYWORDS.get(tag, tag): e for tag, e in row.items()} for row in rows]),
    "no uids": edited(without("0020000D", "0020000E", "00080018")),
    "empty rows": edited(lambda rows: [{} for _ in rows]),
    "no values": edited(lambda rows: [{tag: {"vr": "UI"} for tag in row} for row in rows]),
}
