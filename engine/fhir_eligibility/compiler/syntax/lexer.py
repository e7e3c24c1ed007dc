"""Text to tokens, for FHIRPath and CQL alike (CQL's lexical grammar contains FHIRPath's).

One regular expression finds the tokens; everything that is wrong becomes a diagnostic with its span, and reading goes on behind it.
Keywords are not told apart here: both languages allow most of them as names, so the parsers decide.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from fhir_eligibility.algebra import limits
from fhir_eligibility.algebra.diagnostic import Diagnostic, DiagnosticError, Source, Span


class Token(NamedTuple):
    """One token: its kind, its text as the author wrote it, the decoded value, and its offsets."""

    kind: str  # name, delimited, quoted, string, integer, long, decimal, date, datetime, time, operator, end
    text: str
    value: str
    start: int
    end: int

    @property
    def span(self) -> Span:
        """Where the token stands in the source."""
        return Span(self.start, self.end)


_TOKEN = re.compile(
    r"""
    (?P<space>[ \t\r\n\f\v\u00a0\ufeff]+|//[^\n]*|/\*.*?\*/)
  | (?P<unclosed_comment>/\*)
  | (?P<datetime>@\d{4}(?:-\d\d(?:-\d\d)?)?T(?:\d\d(?::\d\d(?::\d\d(?:\.\d+)?)?)?(?:Z|[+-]\d\d:\d\d)?)?)
  | (?P<time>@T\d\d(?::\d\d(?::\d\d(?:\.\d+)?)?)?)
  | (?P<date>@\d{4}(?:-\d\d(?:-\d\d)?)?)
  | (?P<long>\d+L\b)
  | (?P<decimal>\d+\.\d+)
  | (?P<integer>\d+)
  | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
  | (?P<delimited>`(?:\\.|[^`\\])*`)
  | (?P<string>'(?:\\.|[^'\\])*')
  | (?P<quoted>"(?:\\.|[^"\\])*")
  | (?P<unclosed>[`'"])
  | (?P<operator><=|>=|!=|!~|[-+*/&|=~<>.,()\[\]{}%$:;^])
    """,
    re.VERBOSE | re.DOTALL,
)

_ESCAPE = re.compile(r"\\(u[0-9A-Fa-f]{4}|.)", re.DOTALL)
_SIMPLE = {"r": "\r", "n": "\n", "t": "\t", "f": "\f", "'": "'", '"': '"', "`": "`", "\\": "\\", "/": "/"}


def unescape(body: str, source: Source, start: int, problems: list[Diagnostic]) -> str:
    """The value of a quoted token's body; `start` is the offset of the body in the source (FHIRPath: String)."""
    if "\\" not in body:
        return body

    def one(match: re.Match[str]) -> str:
        code = match.group(1)
        if len(code) == 5:
            return chr(int(code[1:], 16))
        if code in _SIMPLE:
            return _SIMPLE[code]
        problems.append(
            Diagnostic(
                "syntax-escape",
                f"unknown escape sequence \\{code}",
                source=source,
                span=Span(start + match.start(), start + match.end()),
                hint="the escapes are \\' \\\" \\` \\\\ \\/ \\r \\n \\t \\f and \\uXXXX with four hexadecimal digits",
            )
        )
        return code

    return _ESCAPE.sub(one, body)


def tokenize(source: Source) -> tuple[list[Token], list[Diagnostic]]:
    """All tokens of a source, closed by one of kind `end`, and what was wrong on the way. Raises DiagnosticError where there are too many."""
    text = source.text
    tokens: list[Token] = []
    problems: list[Diagnostic] = []
    position, length = 0, len(text)
    match_at = _TOKEN.match
    while position < length:
        match = match_at(text, position)
        if match is None:
            problems.append(
                Diagnostic(
                    "syntax-character",
                    f"unexpected character {text[position]!r}",
                    source=source,
                    span=Span(position, position + 1),
                    hint=_character_hint(text[position]),
                )
            )
            position += 1
            continue
        kind, end = match.lastgroup or "", match.end()
        if kind == "space":
            position = end
            continue
        raw = match.group()
        if kind == "unclosed_comment":
            problems.append(
                Diagnostic(
                    "syntax-comment",
                    "this comment is never closed",
                    source=source,
                    span=Span(position, position + 2),
                    hint="close it with */",
                )
            )
            break
        if kind == "unclosed":
            problems.append(
                Diagnostic(
                    "syntax-quote",
                    f"this quote {raw} is never closed",
                    source=source,
                    span=Span(position, position + 1),
                    hint=f"close it with {raw}",
                )
            )
            break
        value = raw
        if kind in ("string", "quoted", "delimited"):
            value = unescape(raw[1:-1], source, position + 1, problems)
        elif kind in ("date", "datetime", "time"):
            value = raw[1:]
        elif kind == "long":
            value = raw[:-1]
        tokens.append(Token(kind, raw, value, position, end))
        if len(tokens) > limits.MAX_TOKENS:
            problems.append(
                Diagnostic(
                    limits.CODE,
                    f"this is too large to be compiled: it has more than {limits.MAX_TOKENS:,} words and signs",
                    source=source,
                    span=Span(position, end),
                    hint="a long list of codes is a value set; definitions can stand in several libraries",
                )
            )
            raise DiagnosticError(problems)
        position = end
    tokens.append(Token("end", "", "", length, length))
    return tokens, problems


def _character_hint(character: str) -> str | None:
    if character in "\u2018\u2019\u201c\u201d":
        return "this is a typographic quote; write ' instead"
    if character in "\u2013\u2014\u2212":
        return "this is a typographic dash; write - instead"
    if character == "!":
        return "for negation write .not(); for inequality !="
    return None
