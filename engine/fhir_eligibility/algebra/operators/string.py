"""Strings (FHIRPath: "String Manipulation"; CQL reference: "String Operators")."""

from __future__ import annotations

import base64
import binascii
import html
import json
import re
from collections.abc import Callable

from fhir_eligibility.algebra import limits
from fhir_eligibility.algebra.diagnostic import EvaluationError
from fhir_eligibility.algebra.operators.registry import OperatorTraits, operator


@operator(
    "Concatenate",
    "(String, String) String",
    cql="+ & Concatenate",
    section="String: Concatenate",
    language="cql",
)
def concatenate_strings(a: str, b: str) -> str:
    return limits.text(a + b, "Concatenate")


@operator("Concatenate", "(String, String) String", fhirpath="&", nulls="handled", language="fhirpath")
def concatenate(a: str | None, b: str | None) -> str:
    return limits.text((a or "") + (b or ""), "&")


@operator(
    "StartsWith", "(String, String) Boolean", fhirpath="startsWith", cql="StartsWith", section="String: StartsWith"
)
def starts_with(text: str, prefix: str) -> bool:
    return text.startswith(prefix)


@operator("EndsWith", "(String, String) Boolean", fhirpath="endsWith", cql="EndsWith", section="String: EndsWith")
def ends_with(text: str, suffix: str) -> bool:
    return text.endswith(suffix)


@operator("ContainsText", "(String, String) Boolean", fhirpath="contains", section="FHIRPath: contains(substring)")
def contains_text(text: str, part: str) -> bool:
    return part in text


@operator(
    "PositionOf",
    "(String, String) Integer",
    fhirpath="indexOf",
    section="String: PositionOf",
    language="fhirpath",
    traits=OperatorTraits(certain="always", elm="pattern string"),
)
def index_of(text: str, part: str) -> int:
    return text.find(part)


@operator(
    "LastPositionOf",
    "(String, String) Integer",
    fhirpath="lastIndexOf",
    section="String: LastPositionOf",
    language="fhirpath",
    traits=OperatorTraits(elm="pattern string"),
)
def last_index_of(text: str, part: str) -> int:
    return text.rfind(part)


@operator(
    "Substring",
    "(String, Integer) String?",
    "(String, Integer, Integer) String?",
    fhirpath="substring",
    cql="Substring",
    section="String: Substring",
    language="fhirpath",
    traits=OperatorTraits(elm="stringToSub startIndex length"),
)
def substring(text: str, start: int, length: int | None = None) -> str | None:
    if start < 0 or start >= len(text):
        return None
    if length is None:
        return text[start:]
    return text[start : start + length] if length > 0 else ""


@operator("Substring", "(String, Integer) String?", "(String, Integer, Integer) String?", language="cql")
def substring_of(text: str, start: int, length: int | None = None) -> str | None:
    """The start of the empty string is inside it: `Substring('', 0)` is an empty string."""
    return "" if start == 0 and not text else substring(text, start, length)


@operator("PositionOf", "(String, String) Integer", cql="PositionOf", language="cql")
def position_of(part: str, text: str) -> int:
    return text.find(part)


@operator("LastPositionOf", "(String, String) Integer", cql="LastPositionOf", language="cql")
def last_position_of(part: str, text: str) -> int:
    return text.rfind(part)


@operator("Indexer", "(String, Integer) String?", cql="Indexer", section="String: Indexer", language="cql")
def character_at(text: str, index: int) -> str | None:
    return text[index] if 0 <= index < len(text) else None


@operator("Upper", "(String) String", fhirpath="upper", cql="Upper", section="String: Upper")
def upper(text: str) -> str:
    return limits.text(text.upper(), "Upper", len(text))


@operator("Lower", "(String) String", fhirpath="lower", cql="Lower", section="String: Lower")
def lower(text: str) -> str:
    return limits.text(text.lower(), "Lower", len(text))


@operator("Length", "(String) Integer", fhirpath="length", cql="Length", section="String: Length")
def length(text: str) -> int:
    return len(text)


@operator("Replace", "(String, String, String) String", fhirpath="replace", section="FHIRPath: replace")
def replace(text: str, pattern: str, substitution: str) -> str:
    more = len(substitution) - len(pattern)
    if more > 0:
        limits.room_for(len(text) + text.count(pattern) * more, "replace()", len(text))
    return text.replace(pattern, substitution)


@operator("Matches", "(String, String) Boolean", cql="Matches", section="String: Matches", language="cql")
@operator("Matches", "(String, String) Boolean", fhirpath="matches", section="FHIRPath: matches", language="fhirpath")
def matches(text: str, regex: str) -> bool:
    # loaded where a criterion matches: it takes as long as all of the operators
    from fhir_eligibility.algebra.operators import matching

    return matching.found(regex, text)


@operator("MatchesFull", "(String, String) Boolean", fhirpath="matchesFull", section="FHIRPath: matchesFull")
def matches_full(text: str, regex: str) -> bool:
    from fhir_eligibility.algebra.operators import matching

    return matching.found_whole(regex, text)


@operator(
    "ReplaceMatches",
    "(String, String, String) String",
    fhirpath="replaceMatches",
    cql="ReplaceMatches",
    section="String: ReplaceMatches",
)
def replace_matches(text: str, regex: str, substitution: str) -> str:
    from fhir_eligibility.algebra.operators import matching

    return matching.replaced(regex, text, substitution) if regex else text


@operator("Trim", "(String) String", fhirpath="trim", section="FHIRPath: trim")
def trim(text: str) -> str:
    return text.strip()


@operator("ToChars", "(String) List<String>", fhirpath="toChars", section="FHIRPath: toChars")
def to_chars(text: str) -> list[str]:
    limits.room_for_items(len(text), "toChars()")
    return list(text)


@operator("SplitText", "(String, String) List<String>", fhirpath="split", section="FHIRPath: split")
def split(text: str, separator: str) -> list[str]:
    return _parts(text, separator, "split()") if separator else to_chars(text)


def _parts(text: str, separator: str, what: str) -> list[str]:
    if len(text) > limits.MAX_ITEMS:
        limits.room_for_items(text.count(separator) + 1, what)
    return text.split(separator)


_JSON_ESCAPE = re.compile(r"(?:\\u[0-9a-fA-F]{4})+|\\[\"\\/bfnrt]")


def _binary(text: str, decode: str) -> bytes:
    try:
        if decode == "hex":
            return bytes.fromhex(text)
        if decode == "base64":
            return base64.b64decode(text, validate=True)
        return base64.urlsafe_b64decode(text)
    except (ValueError, binascii.Error) as error:
        raise EvaluationError("invalid-encoding", f"{text[:40]!r} is not valid {decode}: {error}") from None


_ENCODINGS: dict[str, Callable[[bytes], str]] = {
    "hex": bytes.hex,
    "base64": lambda data: base64.b64encode(data).decode(),
    "urlbase64": lambda data: base64.urlsafe_b64encode(data).decode(),
}


@operator("Encode", "(String, String) String?", fhirpath="encode", section="FHIRPath: encode")
def encode(text: str, form: str) -> str | None:
    make = _ENCODINGS.get(form)
    return None if make is None else limits.text(make(text.encode()), "encode()")


@operator("Decode", "(String, String) String?", fhirpath="decode", section="FHIRPath: decode")
def decode(text: str, form: str) -> str | None:
    if form not in ("hex", "base64", "urlbase64"):
        return None
    try:
        return _binary(text, form).decode()
    except UnicodeDecodeError as error:
        raise EvaluationError("invalid-encoding", f"{text[:40]!r} is not UTF-8 text when decoded: {error}") from None


@operator("Escape", "(String, String) String?", fhirpath="escape", section="FHIRPath: escape")
def escape(text: str, form: str) -> str | None:
    if form == "html":
        return limits.text(html.escape(text, quote=True).replace("&#x27;", "&#39;"), "escape()", len(text))
    if form == "json":
        return limits.text(json.dumps(text, ensure_ascii=False)[1:-1], "escape()", len(text))
    return None


@operator("Unescape", "(String, String) String?", fhirpath="unescape", section="FHIRPath: unescape")
def unescape(text: str, form: str) -> str | None:
    if form == "html":
        return limits.text(html.unescape(text), "unescape()", len(text))
    if form == "json":
        return limits.text(
            _JSON_ESCAPE.sub(lambda match: str(json.loads(f'"{match.group()}"')), text), "unescape()", len(text)
        )
    return None


@operator(
    "Split",
    "(String, String) List<String>?",
    cql="Split",
    section="String: Split",
    nulls="handled",
    language="cql",
    traits=OperatorTraits(elm="stringToSplit separator"),
)
def split_at(text: str | None, separator: str | None) -> list[str] | None:
    if text is None:
        return None
    return _parts(text, separator, "Split") if separator else [text]


@operator(
    "SplitOnMatches",
    "(String, String) List<String>?",
    cql="SplitOnMatches",
    section="String: SplitOnMatches",
    nulls="handled",
    language="cql",
    traits=OperatorTraits(elm="stringToSplit separatorPattern"),
)
def split_on_matches(text: str | None, regex: str | None) -> list[str] | None:
    from fhir_eligibility.algebra.operators import matching

    if text is None:
        return None
    return [text] if not regex else matching.split(regex, text)


@operator(
    "Combine",
    "(List<String>) String?",
    "(List<String>, String) String?",
    cql="Combine",
    section="String: Combine",
    nulls="handled",
    language="cql",
    traits=OperatorTraits(elm="source separator"),
)
def combine(texts: list[str | None] | None, separator: str | None = None) -> str | None:
    present = [text for text in texts or () if text is not None]
    return join(present, separator) if present else None


def join(values: list[str], separator: str | None = None) -> str:
    """Strings put together with a separator (FHIRPath: join); the empty list gives an empty string."""
    between = separator or ""
    limits.room_for(sum(map(len, values)) + len(between) * len(values), "a joined text")
    return between.join(values)
