"""What explained code reports: the value of each part of the author's text, in the order in which they were evaluated."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from fhir_eligibility.algebra.diagnostic import Source, Span


class ExplainedPart(Struct, frozen=True):
    """A part of an expression and a value that it had: a list where it is a collection, None where it had none.

    A part that is evaluated for each item or row of others is reported each time.
    """

    source: Source
    span: Span
    value: Any

    @property
    def text(self) -> str:
        """The author's text of the part, in one line."""
        return " ".join(self.source.text[self.span.start : self.span.end].split())


class Explanation:
    """The parts that were evaluated, in order; of several steps that stand at the same place of the text one after the other, the last."""

    def __init__(self) -> None:
        self.parts: list[ExplainedPart] = []

    def add(self, source: Source, span: Span, value: Any) -> None:
        """Take the value of a part."""
        if self.parts and self.parts[-1].span == span and self.parts[-1].source is source:
            del self.parts[-1]
        self.parts.append(ExplainedPart(source, span, value))
