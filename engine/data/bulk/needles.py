"""What the text of a resource must hold to matter, looked for before anything of it is parsed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import stringzilla as sz
from msgspec import Struct
from stringzilla import contains

from engine.compiler.reading import TypePlan

# what a letter of a code may be written as
ESCAPE = b"\\u00"
SLASH = b"\\/"
FEW_CODES = 8
# How a code follows its system as a rule, and how a coding without a system begins.
_FOLLOWS = (b',"code":"', b', "code": "')
_UNNAMED = b'{"display"'
_CODE_EXTENDED = b'"_code"'
_HAS_CODE = re.compile(rb'"code"\s*:\s*(?!null\b)')
_HAS_SYSTEM = re.compile(rb'"system"\s*:\s*(?!null\b)')
_IN_CODINGS = re.compile(rb'(?:,|"coding"\s*:\s*\[)\s*\Z')
_BRACES = re.compile(rb"[{}]")
# a code that is a number in the data, which it should not be, is found as well
_CODES = re.compile(rb'"code"\s*:\s*"?([^"\\,}\s]*)')


Systems = tuple[tuple[bytes, tuple[bytes, ...]], ...]
"""Code systems in quotes, each with how a code follows it as a rule."""


def systems_of(names: Iterable[str]) -> Systems:
    """How code systems are looked for."""
    return tuple((_quoted(one), tuple(_quoted(one) + end for end in _FOLLOWS)) for one in sorted(names))


def may_lack_codes(text: bytes, systems: Systems) -> bool:
    """Whether in a text a slash may be escaped, or a coding of some code systems, or of none, may have no code. False is certain for all that stands in it."""
    if contains(text, SLASH) or contains(text, _CODE_EXTENDED) or any(True for _ in _of_none(text)):
        return True
    return any(_some_apart(text, *one) for one in systems)


def _some_apart(text: bytes | memoryview, system: bytes, ordinary: tuple[bytes, ...]) -> bool:
    """Whether a code system stands somewhere without its code behind it."""
    left = sz.count(text, system)
    for one in ordinary:
        if not left:
            return False
        left -= sz.count(text, one)
    return bool(left)


class Needles(Struct):
    """What the text of a resource must hold to matter (see `engine.compiler.reading`), as bytes."""

    texts: tuple[bytes, ...]
    codes: frozenset[bytes] | None
    escapes: tuple[bytes, ...]
    """What may hide a needle."""
    systems: Systems = ()
    """The code systems that are asked for, each with how a code follows it as a rule."""

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

    def found(self, text: bytes, escapes: bool = True, uncoded: bool = True) -> bool:
        """Whether a resource with this text may matter; without `escapes` it is known to have no ESCAPE, without `uncoded` nothing that `may_lack_codes` looks for."""
        for needle in self.texts:
            if contains(text, needle):
                return True
        if escapes and contains(text, ESCAPE):
            return True
        if uncoded and len(self.escapes) > 1 and contains(text, SLASH):
            return True
        if self.codes is not None and not self.codes.isdisjoint(_CODES.findall(text)):
            return True
        return uncoded and any(True for _ in self.without_code(text))

    def without_code(self, text: bytes | memoryview) -> Iterator[int]:
        """Places in a text where a coding stands that has no code, of a system that is asked for or of none, in no order: of it nobody can tell whether it is what is asked for."""
        for system, ordinary in self.systems:
            if _some_apart(text, system, ordinary):
                yield from self._of_system(bytes(text), system)
        if contains(text, _UNNAMED):
            yield from _of_none(bytes(text))
        if contains(text, _CODE_EXTENDED):
            yield from (match.start() for match in re.finditer(_CODE_EXTENDED, text))

    def _of_system(self, text: bytes, system: bytes) -> Iterator[int]:
        at = text.find(system)
        while at >= 0:
            end = at + len(system)
            if not text.startswith(_FOLLOWS, end) and not _HAS_CODE.search(_members_around(text, at, end)):
                yield at
            at = text.find(system, end)

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


def _of_none(text: bytes) -> Iterator[int]:
    """Places where a coding begins, or may begin, that has neither a system nor a code."""
    at = sz.find(text, _UNNAMED, 0)
    while at >= 0:
        if _IN_CODINGS.search(text, max(at - 24, 0), at):
            members = _members_around(text, at + 1, at + 1)
            if not _HAS_CODE.search(members) and not _HAS_SYSTEM.search(members):
                yield at
        at = sz.find(text, _UNNAMED, at + 1)


def _members_around(text: bytes, start: int, end: int) -> bytes:
    """The members of the object in which something stands, as far as no other object stands between."""
    before = max(text.rfind(b"{", 0, start), text.rfind(b"}", 0, start))
    behind = _BRACES.search(text, end)
    return text[before + 1 : behind.start() if behind is not None else len(text)]


def _quoted(text: str) -> bytes:
    return f'"{text}"'.encode()


def _needle(text: str) -> bytes:
    """What stands in JSON for a string: itself in quotes, or without where a careless writer may have made it a number."""
    return text.encode() if text.isdigit() else f'"{text}"'.encode()
