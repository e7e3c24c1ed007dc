"""What the text of a resource must hold to matter, looked for before anything of it is parsed."""

from __future__ import annotations

import re
from collections.abc import Iterator

import stringzilla as sz
from msgspec import Struct
from stringzilla import contains

from engine.compiler.reading import TypePlan

# what a letter of a code may be written as
ESCAPE = b"\\u00"
FEW_CODES = 8
# a code that is a number in the data, which it should not be, is found as well
_CODES = re.compile(rb'"code"\s*:\s*"?([^"\\,}\s]*)')


class Needles(Struct):
    """What the text of a resource must hold to matter (see `engine.compiler.reading`), as bytes."""

    texts: tuple[bytes, ...]
    codes: frozenset[bytes] | None
    escapes: tuple[bytes, ...]
    """What may hide a needle."""

    @classmethod
    def of(cls, plan: TypePlan) -> Needles | None:
        """The needles of a plan, None where every resource of the type matters."""
        if plan.codes is None or plan.texts is None:
            return None
        written = plan.codes | plan.texts
        escapes = (ESCAPE, b"\\/") if any("/" in text for text in written) else (ESCAPE,)
        if any(not text.isascii() or '"' in text or "\\" in text or not text.isprintable() for text in written):
            return None
        if len(plan.codes) <= FEW_CODES:
            return cls(tuple(map(_needle, sorted(written))), None, escapes)
        if any(" " in code or "," in code or "}" in code for code in plan.codes):
            return None
        texts = tuple(f'"{text}"'.encode() for text in sorted(plan.texts))
        return cls(texts, frozenset(code.encode() for code in plan.codes), escapes)

    def found(self, text: bytes, escapes: bool = True) -> bool:
        """Whether a resource with this text may matter; without `escapes` it is known to have no ESCAPE."""
        for needle in self.texts:
            if contains(text, needle):
                return True
        if escapes or len(self.escapes) > 1:
            for escape in self.escapes if escapes else self.escapes[1:]:
                if contains(text, escape):
                    return True
        return self.codes is not None and not self.codes.isdisjoint(_CODES.findall(text))

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


def _needle(text: str) -> bytes:
    """What stands in JSON for a string: itself in quotes, or without where a careless writer may have made it a number."""
    return text.encode() if text.isdigit() else f'"{text}"'.encode()
