"""Strings (FHIRPath: "String Manipulation"; CQL reference: "String Operators")."""

from __future__ import annotations

import base64
import binascii
import html
import json
import re
from functools import lru_cache

from engine.algebra.diagnostic import EvaluationError
from engine.algebra.operators.registry import operator


@operator(
    "Concatenate",
    "(String, String) String",
    cql="+ & Concatenate",
    section="String: Concatenate",
    language="cql",
    inline="({0} + {1})",
)
def concatenate_strings(a: str, b: str) -> str:
    return a + b


@operator("Concatenate", "(String, String) String", fhirpath="&", nulls="handled", language="fhirpath")
def concatenate(a: str | None, b: str | None) -> str:
    return (a or "") + (b or "")


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
    "PositionOf", "(String, String) Integer", fhirpath="indexOf", section="String: PositionOf", language="fhirpath"
)
def index_of(text: str, part: str) -> int:
    return text.find(part)


@operator(
    "LastPositionOf",
    "(String, String) Integer",
    fhirpath="lastIndexOf",
    section="String: LastPositionOf",
    language="fhirpath",
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
    return text.upper()


@operator("Lower", "(String) String", fhirpath="lower", cql="Lower", section="String: Lower")
def lower(text: str) -> str:
    return text.lower()


@operator("Length", "(String) Integer", fhirpath="length", cql="Length", section="String: Length")
def length(text: str) -> int:
    return len(text)


@operator("Replace", "(String, String, String) String", fhirpath="replace", section="FHIRPath: replace")
def replace(text: str, pattern: str, substitution: str) -> str:
    return text.replace(pattern, substitution)


@lru_cache(maxsize=512)
def pattern(regex: str) -> re.Pattern[str]:
    """A compiled regular expression, single-line mode (FHIRPath: matches). Raises EvaluationError `invalid-regex`."""
    try:
        return re.compile(regex, re.DOTALL)
    except re.error as error:
        raise EvaluationError("invalid-regex", f"{regex!r} is not a valid regular expression: {error}") from None


@operator("Matches", "(String, String) Boolean", cql="Matches", section="String: Matches", language="cql")
def matches_whole(text: str, regex: str) -> bool:
    return pattern(regex).fullmatch(text) is not None


@operator("Matches", "(String, String) Boolean", fhirpath="matches", section="FHIRPath: matches", language="fhirpath")
def matches(text: str, regex: str) -> bool:
    return pattern(regex).search(text) is not None


@operator("MatchesFull", "(String, String) Boolean", fhirpath="matchesFull", section="FHIRPath: matchesFull")
def matches_full(text: str, regex: str) -> bool:
    return pattern(regex).fullmatch(text) is not None


_GROUP = re.compile(r"\$(\d+)|\$\{(\w+)\}|\\(\$)?")


@operator(
    "ReplaceMatches",
    "(String, String, String) String",
    fhirpath="replaceMatches",
    cql="ReplaceMatches",
    section="String: ReplaceMatches",
)
def replace_matches(text: str, regex: str, substitution: str) -> str:
    if regex == "":
        return text

    def group(match: re.Match[str]) -> str:
        if match.group().startswith("\\"):
            return match[3] or "\\\\"  # `\$` is the character itself
        return f"\\g<{match.group(1) or match.group(2)}>"

    try:
        return pattern(regex).sub(_GROUP.sub(group, substitution), text)
    except (re.error, IndexError) as error:
        raise EvaluationError("invalid-regex", f"cannot substitute {substitution!r}: {error}") from None


@operator("Trim", "(String) String", fhirpath="trim", section="FHIRPath: trim")
def trim(text: str) -> str:
    return text.strip()


@operator("ToChars", "(String) List<String>", fhirpath="toChars", section="FHIRPath: toChars")
def to_chars(text: str) -> list[str]:
    return list(text)


@operator("SplitText", "(String, String) List<String>", fhirpath="split", section="FHIRPath: split")
def split(text: str, separator: str) -> list[str]:
    return text.split(separator) if separator else list(text)


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


@operator("Encode", "(String, String) String?", fhirpath="encode", section="FHIRPath: encode")
def encode(text: str, form: str) -> str | None:
    data = text.encode()
    if form == "hex":
        return data.hex()
    if form == "base64":
        return base64.b64encode(data).decode()
    if form == "urlbase64":
        return base64.urlsafe_b64encode(data).decode()
    return None


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
        return html.escape(text, quote=True).replace("&#x27;", "&#39;")
    if form == "json":
        return json.dumps(text, ensure_ascii=False)[1:-1]
    return None


@operator("Unescape", "(String, String) String?", fhirpath="unescape", section="FHIRPath: unescape")
def unescape(text: str, form: str) -> str | None:
    if form == "html":
        return html.unescape(text)
    if form == "json":
        return _JSON_ESCAPE.sub(lambda match: str(json.loads(f'"{match.group()}"')), text)
    return None


@operator(
    "Split", "(String, String) List<String>?", cql="Split", section="String: Split", nulls="handled", language="cql"
)
def split_at(text: str | None, separator: str | None) -> list[str] | None:
    if text is None:
        return None
    return text.split(separator) if separator else [text]


@operator(
    "SplitOnMatches",
    "(String, String) List<String>?",
    cql="SplitOnMatches",
    section="String: SplitOnMatches",
    nulls="handled",
    language="cql",
)
def split_on_matches(text: str | None, regex: str | None) -> list[str] | None:
    if text is None:
        return None
    return [text] if not regex else pattern(regex).split(text)


@operator(
    "Combine",
    "(List<String>) String?",
    "(List<String>, String) String?",
    cql="Combine",
    section="String: Combine",
    nulls="handled",
    language="cql",
)
def combine(texts: list[str | None] | None, separator: str | None = None) -> str | None:
    present = [text for text in texts or () if text is not None]
    return (separator or "").join(present) if present else None


def join(values: list[str], separator: str | None = None) -> str:
    """Strings put together with a separator (FHIRPath: join); the empty list gives an empty string."""
    return (separator or "").join(values)
