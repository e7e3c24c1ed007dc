"""Asks the reference translator and engine: one node process for any number of expressions or libraries."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.differential.node import NodeFolder


@dataclass(frozen=True)
class Problem:
    """What the translator found wrong, and where: lines and characters from 1, the last character included."""

    severity: str
    message: str
    start_line: int | None
    start_char: int | None
    end_line: int | None
    end_char: int | None
    type: str


@dataclass(frozen=True)
class Translated:
    """A library as ELM. Where errors were found, the ELM holds Null in the faulty places; None: no ELM at all."""

    elm: dict[str, Any] | None
    errors: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """Whether the translator accepts the library; warnings do not count."""
        return self.elm is not None and not any(error.severity == "error" for error in self.errors)


@dataclass(frozen=True)
class Evaluated:
    """What became of one expression. `result` is CQL literal text, "null" for CQL's null, None for no value."""

    translated: bool
    errors: tuple[str, ...]
    thrown: str | None
    result: str | None
    type: str | None
    """The static type."""
    uncertain: bool
    """The result is, or holds, an uncertainty, written as an interval."""
    unsupported: tuple[str, ...]
    """What the engine lacks, silently: operators that it takes for null, and "Long". The result is then no answer."""


@dataclass(frozen=True)
class Reference(NodeFolder):
    """The reference implementation in a folder that setup.sh made."""

    @classmethod
    def find(cls) -> Reference | None:
        """The one that CQL_REFERENCE_DIR names; None without it or without node."""
        scripts = [script.name for script in Path(__file__).parent.glob("*.mjs")]
        return cls.named("CQL_REFERENCE_DIR", ["node_modules/cql-execution", *scripts])

    def evaluate(self, expressions: dict[str, str]) -> dict[str, Evaluated]:
        """The value of each expression, without a patient, at 2025-06-15T12:00:00.000+00:00."""
        rows = ({"id": name, "expression": text} for name, text in expressions.items())
        return {
            answer["id"]: Evaluated(
                translated=answer["translated"],
                errors=tuple(answer["errors"]),
                thrown=answer["thrown"],
                result=answer["result"],
                type=answer["type"],
                uncertain=answer["uncertain"],
                unsupported=tuple(answer["unsupported"]),
            )
            for answer in self.run("evaluate.mjs", rows)
        }

    def translate(self, libraries: dict[str, str], included: dict[str, str] | None = None) -> dict[str, Translated]:
        """Each library as ELM; `included` are the texts of those that they include, by name or by `name|version`."""
        rows = ({"id": name, "text": text, "libraries": included or {}} for name, text in libraries.items())
        return {
            answer["id"]: Translated(answer["elm"], tuple(map(_problem, answer["errors"])))
            for answer in self.run("translate.mjs", rows)
        }


def _problem(found: dict[str, Any]) -> Problem:
    return Problem(
        severity=found["severity"],
        message=found["message"],
        start_line=found["startLine"],
        start_char=found["startChar"],
        end_line=found["endLine"],
        end_char=found["endChar"],
        type=found["type"],
    )
