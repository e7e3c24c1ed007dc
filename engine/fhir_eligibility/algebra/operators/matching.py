"""Regular expressions of strangers: their dialect, and limits on what they may cost.

The specifications recommend the dialect of PCRE (FHIRPath: matches; CQL: Matches). The `regex` library speaks it but for the few things that
`_Reader` rewrites; what backtracks without end it stops after a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import regex as engine

from fhir_eligibility.algebra.diagnostic import EvaluationError
from fhir_eligibility.algebra.limits import (
    MATCH_SECONDS,
    MAX_ITEMS,
    MAX_PATTERN,
    MAX_TEXT,
    exceeded,
    room_for,
    room_for_items,
)
from fhir_eligibility.algebra.limits import text as made_text

_QUANTIFIER = engine.compile(r"\{(\d+)(,(\d*))?\}")
# What opens a group, up to its name or its flags; an escape of more than two characters.
_HEAD = engine.compile(r"\((?:\?(?:#[^)]*|(?:P[=>]|&|\(|P?<)?[-+\w]*)|\*\w*)?")
_LONG_ESCAPE = engine.compile(r"\\(?:x[0-9a-fA-F]{1,2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{2,3}|[gkL]<[^>]*>?)")
# The library makes a table for each text that a pattern looks for, in a time that grows with the third power of its length and that no limit
# ends: after so many characters a condition that always holds, in one way only, ends the text.
_LONGEST_TEXT = 200
_END_OF_TEXT = "(?!(?!))"
_SET_OPERATORS = ("&&", "--", "||", "~~")
_REFERENCE = engine.compile(r"\$(?:(?P<number>\d+)|\{(?P<name>\w+)\})|\\\$")
_AROUND = engine.compile(r"\(\?<?[=!]|\\K")
_IN_ONE_GO = 8 * MAX_TEXT  # characters that may be made before they are counted
Pattern = Any
Match = Any
Part = str | int


class _PatternReader:
    """Reads a pattern once: rewrites what the library reads otherwise than PCRE, and adds up its size with repetitions written out."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.out: list[str] = []
        self.sizes = [0]  # of the groups that are open
        self.size = 0
        self.last = 0  # size of what a quantifier would repeat
        self.run = 0  # characters and classes since a text was ended

    def read(self) -> str:
        while self.at < len(self.text):
            self._step(self.text[self.at])
        return "".join(self.out)

    def _put(self, source: int, written: str | None = None, size: int = 1) -> None:
        """Take `source` characters over, as they are or as `written`."""
        self.out.append(self.text[self.at : self.at + source] if written is None else written)
        self.at += source
        self._grow(size)
        self.last = size

    def _grow(self, size: int) -> None:
        self.sizes[-1] += size
        self.size += size
        if self.size > MAX_PATTERN:
            exceeded(
                f"the regular expression {self.text[:60]!r} repeats more than is allowed: written out it is longer than {MAX_PATTERN:,}"
            )

    def _step(self, character: str) -> None:
        if self.run >= _LONGEST_TEXT and character not in ")*+?{|=!:<>":
            self.out.append(_END_OF_TEXT)
            self.run = 0
        self.run += 1
        if character == "\\":
            self._escape()
        elif character == "[":
            self._class()
        elif character == "(":
            found = _HEAD.match(self.text, self.at)
            head = found[0] if found else "("
            self._put(len(head), size=0)
            self.sizes += [1, 1] if head.startswith("(?(") else [1]
        elif character == ")" and len(self.sizes) > 1:
            inside = self.sizes.pop()
            self.sizes[-1] += inside
            self._put(1, size=0)
            self.last = inside
        elif character == "{":
            self._braces()
        else:
            self._put(1)

    def _braces(self) -> None:
        found = _QUANTIFIER.match(self.text, self.at)
        if found is None:
            self._put(1, r"\{")  # a brace that counts nothing is itself
            return
        times = max(int(found[1][:9]), int((found[3] or "0")[:9]))
        before = self.last
        self._put(len(found[0]), size=before * max(0, times - 1))
        self.last = before * max(1, times)

    def _escape(self) -> None:
        following = self.text[self.at + 1 : self.at + 2]
        if following == "z":
            self._put(2, r"\Z")
        elif following == "Z":
            self._put(2, r"(?=\n?\Z)")
        elif following == "Q":
            end = self.text.find(r"\E", self.at + 2)
            literal = self.text[self.at + 2 : end if end >= 0 else len(self.text)]
            parts = [literal[at : at + _LONGEST_TEXT] for at in range(0, len(literal), _LONGEST_TEXT)]
            written = _END_OF_TEXT.join([engine.escape(part, special_only=True) for part in parts])
            self._put(len(literal) + (4 if end >= 0 else 2), written, len(literal))
            self.run += len(parts[-1]) if parts else 0
        elif following == "x" and self.text[self.at + 2 : self.at + 3] == "{":
            end = self.text.find("}", self.at)
            self._put(end + 1 - self.at, self._character(self.text[self.at + 3 : end]))
        elif following in ("p", "P", "N", "g", "k", "o") and self.text[self.at + 2 : self.at + 3] == "{":
            end = self.text.find("}", self.at)
            self._put((end if end >= 0 else self.at + 1) + 1 - self.at)
        else:
            long = _LONG_ESCAPE.match(self.text, self.at)
            self._put(len(long[0]) if long else 2)

    def _character(self, digits: str) -> str:
        try:
            return str(engine.escape(chr(int(digits, 16))))
        except (ValueError, OverflowError):
            raise _invalid(
                self.text, f"\\x{{{digits}}} names a code point that does not exist; the last is \\x{{10FFFF}}"
            ) from None

    def _class(self) -> None:
        """A class of characters: `[` in it is a character, as are the set operators that the library knows."""
        start = self.at
        self.out.append("[")
        self.at += 1
        if self.text.startswith("^", self.at):
            self.out.append("^")
            self.at += 1
        first = True
        while self.at < len(self.text):
            rest = self.text[self.at : self.at + 2]
            if rest[0] == "]" and not first:
                break
            posix = self.text.find(":]", self.at) if rest == "[:" else -1
            if posix >= 0:
                self._take(self.text[self.at : posix + 2])
            elif rest[0] == "\\":
                self._take(rest)
            elif rest[0] in "[]":
                self._take(rest[0], "\\" + rest[0])
            elif rest in _SET_OPERATORS:
                self._take(rest, "".join("\\" + character for character in rest))
            else:
                self._take(rest[0])
            first = False
        else:
            raise _invalid(self.text, f"the class that starts at character {start + 1} has no end")
        self.out.append("]")
        self.at += 1
        self._grow(1)
        self.last = 1

    def _take(self, source: str, written: str | None = None) -> None:
        self.out.append(source if written is None else written)
        self.at += len(source)


def _invalid(text: str, why: object) -> EvaluationError:
    return EvaluationError("invalid-regex", f"{text[:200]!r} is not a valid regular expression: {why}")


@lru_cache(maxsize=512)
def pattern(text: str) -> Pattern:
    """A compiled regular expression in which a dot is any character (FHIRPath: matches). Raises EvaluationError `invalid-regex`, `limit-exceeded`."""
    if len(text) > MAX_PATTERN:
        exceeded(f"a regular expression of {len(text):,} characters is longer than {MAX_PATTERN:,}")
    try:
        return engine.compile(_PatternReader(text).read(), engine.DOTALL | engine.VERSION1, cache_pattern=False)
    except engine.error as error:
        raise _invalid(text, error) from None
    except (RecursionError, OverflowError, ValueError, KeyError) as error:
        raise _invalid(text, f"it cannot be compiled: {error}") from None


def _limited(regex: str, text: str, ask: Callable[[Pattern], Any]) -> Any:
    """What a regular expression answers on a text. Raises EvaluationError `limit-exceeded`."""
    try:
        return ask(pattern(regex))
    except TimeoutError:
        limit = f"{MATCH_SECONDS:g} seconds"
    except (MemoryError, RecursionError):
        limit = "the memory there is"
    exceeded(f"the regular expression {regex[:60]!r} takes more than {limit} on a text of {len(text):,} characters")


def found(regex: str, text: str) -> bool:
    """Whether a part of a text matches."""
    return _limited(regex, text, lambda p: p.search(text, timeout=MATCH_SECONDS)) is not None


def found_whole(regex: str, text: str) -> bool:
    """Whether a whole text matches."""
    return _limited(regex, text, lambda p: p.fullmatch(text, timeout=MATCH_SECONDS)) is not None


def split(regex: str, text: str) -> list[str]:
    """The parts of a text between its matches. Raises EvaluationError `invalid-regex`, `limit-exceeded`."""

    def parts_of(p: Pattern) -> list[str]:
        parts: list[str] = []
        last = 0
        for match in p.finditer(text, timeout=MATCH_SECONDS):
            start, end = match.span()
            parts.append(text[last:start])
            last = end
            if len(parts) > MAX_ITEMS:
                room_for_items(len(parts), "SplitOnMatches")
        return [*parts, text[last:]]

    return _limited(regex, text, parts_of)  # type: ignore[no-any-return]


def replaced(regex: str, text: str, substitution: str) -> str:
    """A text with each match replaced; `$1` and `${name}` in the substitution stand for groups, `\\$` for itself.

    Raises EvaluationError `invalid-regex`, `limit-exceeded`.
    """
    most = max(len(text), MAX_TEXT)

    def made(p: Pattern) -> str:
        parts = list(_template(substitution, p))
        if _bound(parts, regex, len(text)) <= _IN_ONE_GO:
            whole = "".join([_escaped(part) for part in parts])
            return made_text(p.sub(whole, text, timeout=MATCH_SECONDS), "ReplaceMatches", len(text))
        literal = "".join(map(str, parts)) if all(isinstance(part, str) for part in parts) else None
        pieces: list[str] = []
        last = length = 0
        for match in p.finditer(text, timeout=MATCH_SECONDS):
            start, end = match.span()
            put = literal if literal is not None else "".join([_piece(part, match) for part in parts])
            pieces += text[last:start], put
            length += start - last + len(put)
            last = end
            if length > most:
                room_for(length, "ReplaceMatches", len(text))
        room_for(length + len(text) - last, "ReplaceMatches", len(text))
        return "".join([*pieces, text[last:]])

    return _limited(regex, text, made)  # type: ignore[no-any-return]


def _bound(parts: list[Part], regex: str, length: int) -> int:
    """How long a text can become at most: each match is replaced by what is written, and by groups, which are no longer than the match."""
    if _AROUND.search(regex):  # a group that looks around may be as long as the text, at each of its places
        return _IN_ONE_GO + 1
    groups = sum(isinstance(part, int) for part in parts)
    return length * (1 + groups) + (length + 1) * sum(len(part) for part in parts if isinstance(part, str))


def _escaped(part: Part) -> str:
    return f"\\g<{part}>" if isinstance(part, int) else part.replace("\\", "\\\\")


def _piece(part: Part, match: Match) -> str:
    return part if isinstance(part, str) else match[part] or ""


def _template(substitution: str, of: Pattern) -> Iterator[Part]:
    """Texts and numbers of groups. What names no group of the pattern is itself. Raises EvaluationError `invalid-regex` for an unknown name."""
    last = 0
    for match in _REFERENCE.finditer(substitution):
        yield substitution[last : match.start()]
        last = match.end()
        if match["name"] is not None:
            name = match["name"]
            number = of.groupindex.get(name, int(name) if name.isdecimal() else -1)
            if not 0 <= number <= of.groups:
                known = ", ".join(of.groupindex) or "none"
                raise EvaluationError(
                    "invalid-regex",
                    f"cannot substitute {substitution[:60]!r}: there is no group {name!r} (named groups: {known})",
                )
            yield number
        elif match["number"] is None:
            yield "$"
        else:
            digits = match["number"]
            used = next((n for n in range(len(digits), 0, -1) if n <= 4 and int(digits[:n]) <= of.groups), 0)
            if used:
                yield int(digits[:used])
            yield digits[used:] if used else match[0]
    yield substitution[last:]
