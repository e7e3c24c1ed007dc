"""Asks the official grammars: one node process for any number of texts."""

from __future__ import annotations

from dataclasses import dataclass

from tests.differential.node import NodeFolder


@dataclass(frozen=True)
class Parsed:
    """What the grammar says of one text."""

    accepted: bool
    """The rule takes the whole text, with no error of lexer or parser."""
    error: str | None
    """The first one, as `line:column message`; lines from 1, columns from 0."""
    nodes: list[tuple[str, int, int]]
    """Name, start and end of every parser rule, parents before children, in the order of the text; empty if it is not
    accepted. The name is the label of the alternative where it has one, else the rule. `text[start:end]` is what it
    took; a rule that ends with EOF (library) takes the white space at the end of the text too."""


@dataclass(frozen=True)
class GrammarOracle(NodeFolder):
    """The generated parsers in a folder that setup.sh made."""

    @classmethod
    def find(cls) -> GrammarOracle | None:
        """The one that GRAMMAR_ORACLE_DIR names; None without it or without node."""
        needed = ("oracle.mjs", "node_modules/antlr4ng", "parsers/cqlParser.js", "parsers/fhirpathParser.js")
        return cls.named("GRAMMAR_ORACLE_DIR", needed)

    def parse(self, texts: list[tuple[str, str, str]]) -> list[Parsed]:
        """Each (language, rule, text): "cql" or "fhirpath"; a rule of its grammar, as "library" or "expression"."""
        rows = (
            {"id": index, "language": language, "rule": rule, "text": text}
            for index, (language, rule, text) in enumerate(texts)
        )
        answers = {answer["id"]: answer for answer in self.run("oracle.mjs", rows)}
        return [
            Parsed(
                accepted=answers[index]["accepted"],
                error=answers[index]["error"],
                nodes=[(name, start, end) for name, start, end in answers[index]["nodes"]],
            )
            for index in range(len(texts))
        ]
