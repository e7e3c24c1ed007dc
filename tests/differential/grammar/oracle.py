"""Asks the official grammars: one node process for any number of texts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path


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
class GrammarOracle:
    """The generated parsers in a folder that setup.sh made."""

    directory: Path
    node: str

    @classmethod
    def find(cls) -> GrammarOracle | None:
        """The one that GRAMMAR_ORACLE_DIR names; None without it or without node."""
        node = shutil.which("node")
        named = os.environ.get("GRAMMAR_ORACLE_DIR")
        if node is None or not named:
            return None
        directory = Path(named).resolve()
        needed = ("oracle.mjs", "node_modules/antlr4ng", "parsers/cqlParser.js", "parsers/fhirpathParser.js")
        return cls(directory, node) if all((directory / name).exists() for name in needed) else None

    def parse(self, texts: list[tuple[str, str, str]]) -> list[Parsed]:
        """Each (language, rule, text): "cql" or "fhirpath"; a rule of its grammar, as "library" or "expression"."""
        rows = (
            {"id": index, "language": language, "rule": rule, "text": text}
            for index, (language, rule, text) in enumerate(texts)
        )
        run = subprocess.run(
            [self.node, str(self.directory / "oracle.mjs")],
            input="".join(json.dumps(row) + "\n" for row in rows),
            stdout=subprocess.PIPE,
            encoding="utf-8",
            cwd=self.directory,
            check=True,
        )
        answers = {answer["id"]: answer for answer in map(json.loads, filter(None, run.stdout.split("\n")))}
        return [
            Parsed(
                accepted=answers[index]["accepted"],
                error=answers[index]["error"],
                nodes=[(name, start, end) for name, start, end in answers[index]["nodes"]],
            )
            for index in range(len(texts))
        ]
