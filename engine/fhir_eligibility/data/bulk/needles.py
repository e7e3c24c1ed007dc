"""What the text of a resource must hold to matter, looked for before anything of it is parsed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import stringzilla as sz
from msgspec import Struct
from stringzilla import contains

from fhir_eligibility.compiler.criteria.reading import TypePlan

# what a letter of a code may be written as
ESCAPE = b"\\u00"
SLASH = b"\\/"
FEW_CODES = 8
# How a code follows its system as a rule, and how a coding may begin that has neither.
_FOLLOWS = (b',"code":"', b', "code": "')
_BEGINNINGS = (b'{"display"', b'{"version"', b'{"userSelected"', b'{"id"', b'{"extension"', b"{}")
_CODE_EXTENDED = b'"_code"'
_NULL = b"null"
_IS_NULL = re.compile(rb'"(?:code|system)"\s*:\s*null\b')
_HAS_CODE = re.compile(rb'"code"\s*:\s*(?!null\b)')
_HAS_SYSTEM = re.compile(rb'"system"\s*:\s*(?!null\b)')
# the same with white space in it
_SPACES = (b"{ ", b"{\n", b"{\r", b"{\t")
_SPACED = re.compile(rb'\{[ \n\r\t]++(?:"(?:display|version|userSelected|id|extension)"|\})')
_BRACES = re.compile(rb"[{}]")
_ADDRESS = re.compile(r"(?:https?:|urn:oid:|(?=\d+\.))(.+?)/?")
# a code that is a number in the data, which it should not be, is found as well
_CODES = re.compile(rb'"code"\s*:\s*"?([^"\\,}\s]*)')


class System(Struct, frozen=True):
    """Addresses of code systems that have a part in common, which is looked for; `ordinary` are the ways in which a code follows as a rule."""

    part: bytes
    names: frozenset[bytes]
    ordinary: tuple[bytes, ...]

    def apart(self, text: bytes | memoryview) -> bool:
        """Whether the part stands somewhere without a code behind it."""
        left = sz.count(text, self.part)
        for one in self.ordinary:
            if not left:
                return False
            left -= sz.count(text, one)
        return bool(left)

    def without_code(self, text: bytes) -> Iterator[int]:
        """Places where an address stands in an object without a code."""
        quoted = self.part[:1] == b'"'
        at = text.find(self.part)
        while at >= 0:
            start = at if quoted else text.rfind(b'"', 0, at)
            end = text.find(b'"', at + quoted) + 1
            if text[start + 1 : end - 1] in self.names and not text.startswith(_FOLLOWS, end):
                if not _HAS_CODE.search(_members_around(text, start, end)):
                    yield at
            at = text.find(self.part, max(end, at + 1))


def systems_of(names: Iterable[str]) -> tuple[System, ...]:
    """How code systems are looked for by their addresses: those that differ in `http` and `https`, in a slash at the end, or as an OID and its urn, together."""
    parts: dict[str, set[bytes]] = {}
    for name in names:
        address = _ADDRESS.fullmatch(name)
        parts.setdefault(address[1] if address is not None else f'"{name}"', set()).add(name.encode())
    found = []
    for part, spelt in sorted(parts.items()):
        closed = part.encode().removesuffix(b'"') + b'"'
        found.append(System(part.encode(), frozenset(spelt), tuple(closed + end for end in _FOLLOWS)))
    return tuple(found)


class Needles(Struct):
    """What the text of a resource must hold to matter (see `fhir_eligibility.compiler.criteria.reading`), as bytes."""

    texts: tuple[bytes, ...]
    codes: frozenset[bytes] | None
    escapes: tuple[bytes, ...]
    """What may hide a needle."""
    systems: tuple[System, ...] = ()
    """The code systems that are asked for."""

    @classmethod
    def of(cls, plan: TypePlan) -> Needles | None:
        """The needles of a plan, None where every resource of the type matters."""
        if plan.codes is None or plan.texts is None:
            return None
        written = plan.codes | plan.texts | plan.systems
        systems = systems_of(plan.systems)
        escapes = (ESCAPE, SLASH) if any("/" in text for text in written) else (ESCAPE,)
        if any(not text.isascii() or '"' in text or "\\" in text or not text.isprintable() for text in written):
            return None
        if len(plan.codes) <= FEW_CODES:
            return cls(tuple(map(_needle, sorted(plan.codes | plan.texts))), None, escapes, systems)
        if any(" " in code or "," in code or "}" in code for code in plan.codes):
            return None
        texts = tuple(f'"{text}"'.encode() for text in sorted(plan.texts))
        return cls(texts, frozenset(code.encode() for code in plan.codes), escapes, systems)

    def found(self, text: bytes) -> bool:
        """Whether a resource with this text may matter."""
        for needle in (*self.texts, *self.escapes):
            if contains(text, needle):
                return True
        if self.codes is not None and not self.codes.isdisjoint(_CODES.findall(text)):
            return True
        return any(True for _ in self.without_code(text))

    def without_code(self, text: bytes | memoryview) -> Iterator[int]:
        """Places in a text where a coding stands that has no code, of a system that is asked for or of none, in no order: of it nobody can tell whether it is what is asked for."""
        for system in self.systems:
            if system.apart(text):
                yield from system.without_code(bytes(text))
        yield from _of_none(text)
        if contains(text, _CODE_EXTENDED):
            yield from (match.start() for match in re.finditer(_CODE_EXTENDED, text))

    def starts(self, lines: bytes) -> Iterator[int]:
        """Places in a text of lines where something stands for which a line may matter, in no order."""
        for needle in (*self.texts, *self.escapes):
            at = sz.find(lines, needle, 0)
            while at >= 0:
                yield at
                # one hit makes the whole line matter
                line_end = lines.find(b"\n", at)
                at = sz.find(lines, needle, line_end) if line_end >= 0 else -1
        if self.codes is not None:
            codes = self.codes
            for match in _CODES.finditer(lines):
                if match[1] in codes:
                    yield match.start()
        yield from self.without_code(lines)


def _of_none(text: bytes | memoryview) -> Iterator[int]:
    """Places where a coding begins, or may begin, that has neither a system nor a code."""
    for beginning in _BEGINNINGS:
        at = sz.find(text, beginning, 0)
        while at >= 0:
            # as a rule it is the value of another element, or in an array of one, which needs no closer look
            before = bytes(text[max(at - 10, 0) : at])
            alone = before.endswith(b":") or (before.endswith(b":[") and before != b'"coding":[')
            if not alone and _is_of_none(text, at):
                yield at
            at = sz.find(text, beginning, at + 1)
    if any(contains(text, one) for one in _SPACES):
        for match in _SPACED.finditer(text):
            if _is_of_none(text, match.start()):
                yield match.start()
    if contains(text, _NULL):
        yield from (match.start() for match in _IS_NULL.finditer(text))


def _is_of_none(text: bytes | memoryview, at: int) -> bool:
    """Whether an object that begins somewhere is, or may be, a coding that has neither a system nor a code."""
    before = _before(text, at)
    if text[before - 1 : before] == b"[":
        before = _before(text, before - 1)
        name = _before(text, before - 1)
        if text[before - 1 : before] != b":" or text[max(name - 8, 0) : name] != b'"coding"':
            return False
    elif text[before - 1 : before] != b",":
        return False
    members = _members_around(bytes(text), at + 1, at + 1)
    return not _HAS_CODE.search(members) and not _HAS_SYSTEM.search(members)


def _before(text: bytes | memoryview, at: int) -> int:
    """Where the white space before a place begins."""
    while at and text[at - 1] in b" \n\r\t":
        at -= 1
    return at


def _members_around(text: bytes, start: int, end: int) -> bytes:
    """The members of the object in which something stands, as far as no other object stands between."""
    before = max(text.rfind(b"{", 0, start), text.rfind(b"}", 0, start))
    behind = _BRACES.search(text, end)
    return text[before + 1 : behind.start() if behind is not None else len(text)]


def _needle(text: str) -> bytes:
    """What stands in JSON for a string: itself in quotes, or without where a careless writer may have made it a number."""
    return text.encode() if text.isdigit() else f'"{text}"'.encode()
