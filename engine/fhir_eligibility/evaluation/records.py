"""The records of a verdict as they are made, thousands a second: the models of `fhir_eligibility.evaluation.verdict` without validation.

Each struct has the fields of its model and is written as the same JSON. They are made from the models here, so that there is one definition of every record; type
checkers see the models. What is the same for all patients of a run is added by `fhir_eligibility.evaluation.descriptions` where a verdict is not written as a line.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from pydantic import BaseModel
from stringzilla import contains

from fhir_eligibility.evaluation import verdict as models


def _nothing() -> list[Any]:
    """An empty list, which is written: only fields without a value are left out."""
    return []


def _struct(model: type[BaseModel]) -> Any:
    """The struct of a model."""
    fields: list[Any] = []
    for name, field in model.model_fields.items():
        if field.is_required():
            fields.append((name, Any))
        elif field.default_factory is not None:
            fields.append((name, Any, msgspec.field(default_factory=_nothing)))
        else:
            fields.append((name, Any, field.default))
    return msgspec.defstruct(model.__name__, fields, kw_only=True, omit_defaults=True, gc=False, module=__name__)


if TYPE_CHECKING:
    from fhir_eligibility.evaluation.verdict import (
        CriterionResult,
        Evidence,
        ImagingLink,
        PatientIdentifier,
        Series,
        Verdict,
    )
else:
    CriterionResult = _struct(models.CriterionResult)
    Evidence = _struct(models.Evidence)
    ImagingLink = _struct(models.ImagingLink)
    PatientIdentifier = _struct(models.PatientIdentifier)
    Series = _struct(models.Series)
    Verdict = _struct(models.Verdict)

R = TypeVar("R")
_encode = msgspec.json.Encoder().encode
_encode_lines = msgspec.json.Encoder().encode_lines


def changed(record: R, **changes: Any) -> R:
    """A copy of a record with some fields changed."""
    copy: Any = msgspec.structs.replace
    return copy(record, **changes)  # type: ignore[no-any-return]


# What some readers of lines take for the end of one (U+2028, U+2029, U+0085), which JSON lets stand in a text as it is.
_ENDS_OF_LINES = (("\u2028", "\\u2028"), ("\u2029", "\\u2029"), ("\u0085", "\\u0085"))
_MARKS = tuple(mark.encode() for mark, _ in _ENDS_OF_LINES)


def in_one_line(text: str) -> str:
    """JSON text without characters that some readers take for the end of a line."""
    for mark, escaped in _ENDS_OF_LINES:
        if mark in text:
            text = text.replace(mark, escaped)
    return text


def lines_of_verdicts(records: Sequence[Verdict]) -> bytes:
    """Verdicts as lines of verdicts.ndjson."""
    lines = _encode_lines(records)
    if any(contains(lines, mark) for mark in _MARKS):
        return in_one_line(lines.decode("utf-8")).encode("utf-8")
    return lines


def decoded(record: Verdict) -> dict[str, Any]:
    """A verdict as a line of verdicts.ndjson has it, decoded."""
    return msgspec.json.decode(_encode(record))  # type: ignore[no-any-return]


__all__ = [
    "CriterionResult",
    "Evidence",
    "ImagingLink",
    "PatientIdentifier",
    "Series",
    "Verdict",
    "in_one_line",
    "changed",
    "decoded",
    "lines_of_verdicts",
]
