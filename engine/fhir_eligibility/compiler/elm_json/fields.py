"""The fields of ELM JSON, each read as the type that it has to have: nothing of another type gets past here (CQL: "Logical Specification").

A field that is absent or null is not there. What is of the wrong type, or not of a closed list, is a problem that names the node and the field.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from fhir_eligibility.algebra.diagnostic import Span
from fhir_eligibility.algebra.operators.table import OPERATORS
from fhir_eligibility.compiler.elm import nodes as n

Json = dict[str, Any]
PRECISIONS = {
    word.capitalize(): word for word in ("year", "month", "week", "day", "hour", "minute", "second", "millisecond")
}
MAX_DEPTH = 1000


class Malformed(Exception):
    """A node that cannot be read; the reason is among the problems."""


class Fields:
    """Fields of the nodes of one library; each node is a line of a listing, which the spans point into."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.define = ""
        self.lines: list[str] = []
        self.problems: list[tuple[str, str, Span]] = []
        self.depth = 0
        self._length = 0

    def line(self, what: str, data: Json) -> Span:
        """A line of the listing for a node; its span."""
        local_id, locator = data.get("localId"), data.get("locator")
        place = [f"local id {local_id}"] if isinstance(local_id, str) and local_id else []
        place += [f"CQL {locator}"] if isinstance(locator, str) and locator else []
        what = " ".join(what.split())
        text = " ".join((what + (f"  ({', '.join(place)})" if place else "")).split("\n"))
        start = self._length
        self.lines.append(text)
        self._length += len(text) + 1
        return Span(start, start + len(what))

    def problem(self, code: str, message: str, span: Span) -> None:
        self.problems.append((code, message, span))

    def fail(self, message: str, span: Span) -> Malformed:
        self.problem("elm", message, span)
        return Malformed()

    def wrong(self, data: Json, key: str, wanted: str, span: Span) -> Malformed:
        """A field that has not the type that it has to have."""
        return self.fail(f"{key!r} has to be {wanted}, but is {shown(data.get(key))}", span)

    # -- fields

    def some_text(self, data: Json, key: str, span: Span) -> str | None:
        """A text, None where it is not there. Raises Malformed."""
        value = data.get(key)
        if value is not None and not isinstance(value, str):
            raise self.wrong(data, key, "a text", span)
        return value

    def text(self, data: Json, key: str, span: Span) -> str:
        """A text that has to be there. Raises Malformed."""
        value = self.some_text(data, key, span)
        if value is None:
            raise self.wrong(data, key, "a text", span)
        return value

    def some_name(self, data: Json, key: str, span: Span) -> str | None:
        """A name; an empty one is none. Raises Malformed."""
        return self.some_text(data, key, span) or None

    def flag(self, data: Json, key: str, absent: bool, span: Span) -> bool:
        """True or false; `absent` where it is not there. Raises Malformed."""
        value = data.get(key)
        if value is None:
            return absent
        if not isinstance(value, bool):
            raise self.wrong(data, key, "true or false", span)
        return value

    def word(self, data: Json, key: str, words: Mapping[str, str], span: Span) -> str | None:
        """What a word of a closed list means, None where it is not there. Raises Malformed."""
        value = self.some_text(data, key, span)
        if value is None:
            return None
        if value not in words:
            raise self.wrong(data, key, f"one of {', '.join(words)}", span)
        return words[value]

    def number(self, data: Json, key: str, span: Span) -> str:
        """The digits of a number. Raises Malformed."""
        value = data.get(key)
        if isinstance(value, Decimal):
            # written out only where that is short: a Decimal of CQL has no more than 28 digits before the point, and 8 behind it
            if value.is_finite() and abs(value.adjusted()) <= 40 and len(value.as_tuple().digits) <= 60:
                return format(value, "f")
        elif isinstance(value, int) and not isinstance(value, bool):
            if value.bit_length() <= 200:
                return str(value)
        elif isinstance(value, str):
            return value
        raise self.wrong(data, key, "a number", span)

    def some_object(self, data: Json, key: str, span: Span) -> Json | None:
        """An object, None where it is not there. Raises Malformed."""
        value = data.get(key)
        if value is not None and not isinstance(value, dict):
            raise self.wrong(data, key, "an object", span)
        return value

    def object(self, data: Json, key: str, span: Span) -> Json:
        """An object that has to be there. Raises Malformed."""
        value = self.some_object(data, key, span)
        if value is None:
            raise self.wrong(data, key, "an object", span)
        return value

    def objects(self, data: Json, key: str, span: Span) -> list[Json]:
        """A list of objects, empty where it is not there. Raises Malformed."""
        value = data.get(key)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise self.wrong(data, key, "a list of objects", span)
        return value

    def one_or_more(self, data: Json, key: str, span: Span) -> list[Json]:
        """An object or a list of objects, as ELM has operands. Raises Malformed."""
        value = data.get(key)
        return [value] if isinstance(value, dict) else self.objects(data, key, span)


def shown(value: Any) -> str:
    """A JSON value in a message."""
    if value is None:
        return "not there"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"the text {value[:60]!r}"
    if isinstance(value, (list, dict)):
        return "a list" if isinstance(value, list) else "an object"
    return "a number"


def operand_names(kind: str) -> tuple[str, ...]:
    """The names that ELM gives to the operands of an operator; none where they are all its `operand`."""
    registered = OPERATORS.get(kind)
    if registered is not None:
        return tuple(registered.traits.elm.split())
    return next((one.elm_operands for one in (n.Message, n.Descendents) if one.__name__ == kind), ())
