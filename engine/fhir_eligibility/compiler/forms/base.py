"""What every form of a characteristic becomes, and the small pieces of FHIRPath that the coded forms are written in.

A coded form is turned into FHIRPath text first: that is what a person reads under `eligibility check`, and it goes through the
same compiler as an author's own expression. A `Selection` is one resource type with tests on its rows; a criterion is met where
some row of some selection passes.
"""

from __future__ import annotations

from msgspec import Struct, field

from fhir_eligibility.algebra.reasons import Reason
from fhir_eligibility.algebra.ucum import alias
from fhir_eligibility.algebra.values.quantity import CALENDAR_WORDS, UCUM_OF_CALENDAR
from fhir_eligibility.artifacts.records import CodedConcept, Coding, QuantityValue
from fhir_eligibility.compiler.forms.codings import GroupedCoding
from fhir_eligibility.compiler.forms.statuses import ABSENT_REASONS


class NotComputable(Exception):
    """A form, or a part of it, that has no truth value here; `reason` is from the closed list of reasons."""

    def __init__(self, detail: str, reason: Reason = Reason.NOT_COMPUTABLE) -> None:
        super().__init__(detail)
        self.detail = detail
        self.reason = reason


class Selection(Struct):
    """Rows of one resource type: `tests` are FHIRPath conditions on a row, joined by `and`.

    `code_test` says which rows are of this kind at all, whatever their status and value: those with `concept` at `code_path`.
    `sentences` say of tests, by their text, what a record does not tell where the test has no answer.
    """

    type: str
    tests: list[str] = field(default_factory=list)
    code_test: str | None = None
    concept: CodedConcept | None = None
    code_path: str | None = None
    sentences: dict[str, str] = field(default_factory=dict)

    @property
    def condition(self) -> str:
        """FHIRPath condition on a row of the type: that it passes."""
        return " and ".join([*([self.code_test] if self.code_test else []), *self.tests])

    @property
    def rows(self) -> str:
        """FHIRPath for the rows that pass."""
        return f"{self.type}.where({self.condition})" if self.condition else self.type

    @property
    def records(self) -> str:
        """FHIRPath for all rows of this kind, whatever their status and value."""
        return f"{self.type}.where({self.code_test})" if self.code_test else self.type


class Form(Struct):
    """A characteristic as understood: FHIRPath text, or the reason why there is none.

    `measurement` marks coded measurements: without any record (`presence`), they are unknown and not false. `causes` tell why the
    criterion is unknown for a patient; `constrained` tells that times, numbers and durations that the characteristic asks for are minded; `notes` tell readers how it was understood; `otherwise` are records of other code systems, `exact` the
    codes that match only themselves although they may include others, `asked` the codes (resource type, system, code), `sentences` what a record does not
    tell where a test, by its text, has no answer.
    """

    name: str
    text: str | None = None
    measurement: bool = False
    presence: str | None = None
    absent: str = "there is no record of this kind at all"
    reason: Reason | None = None
    detail: str | None = None
    warnings: list[tuple[str, str]] = field(default_factory=list)
    causes: list[TextCause] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    otherwise: list[CodedOtherwise] = field(default_factory=list)
    exact: list[str] = field(default_factory=list)
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    sentences: dict[str, str] = field(default_factory=dict)
    constrained: bool = False


class TextCause(Struct, frozen=True):
    """Where `text` (FHIRPath) is true for a patient, a criterion that is unknown is so for this reason."""

    text: str
    reason: Reason
    detail: str


class CodedOtherwise(Struct, frozen=True):
    """Records that may be meant although their codes are of other code systems: `text` is FHIRPath for them.

    `path` leads to their codes by JSON names, `systems` are the code systems that the criterion asks for. Where records are `counted`, one more may
    change any answer; else only the answer that there is none.
    """

    text: str
    path: tuple[str, ...]
    systems: tuple[str, ...]
    counted: bool = False


def quoted(text: str) -> str:
    """A FHIRPath string literal."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\r", "\\r") + "'"


def coding_condition(coding: Coding) -> str:
    """FHIRPath condition on a Coding: that it is the code, or one that it includes."""
    if isinstance(coding, GroupedCoding) and coding.condition is not None:
        return coding.condition
    if coding.code is None:
        raise NotComputable(f"the coding {coding.display or coding.system or ''!r} has no code")
    if coding.system is None:
        return f"code = {quoted(coding.code)}"
    return f"system = {quoted(coding.system)} and code = {quoted(coding.code)}"


def concept_condition(concept: CodedConcept) -> str:
    """FHIRPath condition on a Coding: that it is one of the concept's codings.

    Raises NotComputable for a concept that is text only, or that says only why there is no code.
    """
    coded = [coding for coding in concept.codings if coding.code]
    if coded and all(coding.system in ABSENT_REASONS for coding in coded):
        raise NotComputable(
            f"the concept {label(concept)!r} says only that the code is absent ({coded[0].code})", Reason.NEEDS_REVIEW
        )
    coded = [coding for coding in coded if coding.system not in ABSENT_REASONS]
    if not coded:
        text = concept.text or "(empty)"
        raise NotComputable(f"the concept {text!r} is text without a code", Reason.NEEDS_REVIEW)
    conditions = [coding_condition(coding) for coding in coded]
    if len(conditions) == 1:
        return conditions[0]
    return " or ".join(f"({condition})" for condition in conditions)


def in_concept(path: str, concept: CodedConcept) -> str:
    """FHIRPath test that the CodeableConcept at `path` holds one of the concept's codings."""
    return f"{path}.coding.exists({concept_condition(concept)})"


def label(concept: CodedConcept) -> str:
    """A concept in words, for titles and messages."""
    if concept.text:
        return concept.text
    for coding in concept.codings:
        if coding.display or coding.code:
            return coding.display or f"{coding.system or ''}|{coding.code}"
    return "(empty concept)"


_CALENDAR = {
    "a": ("years", "months", 12),
    "mo": ("months", "days", 30),
    "wk": ("weeks", "days", 7),
    "d": ("days", "hours", 24),
    "h": ("hours", "minutes", 60),
    "min": ("minutes", "seconds", 60),
    "s": ("seconds", "milliseconds", 1000),
    "ms": ("milliseconds", "milliseconds", 1),
}


def calendar_duration(quantity: QuantityValue) -> tuple[bool, str] | None:
    """Sign (True: negative) and FHIRPath calendar duration of a quantity of time; None for zero.

    Raises NotComputable where there is no value or the unit is not one of time.
    """
    if quantity.value is None:
        raise NotComputable("a quantity of time has no value")
    if quantity.value == 0:
        return None
    word, finer, factor = _calendar(quantity)
    amount = abs(quantity.value)
    if amount != amount.to_integral_value():
        amount, word = amount * factor, finer
    number = format(amount.to_integral_value(), "f") if amount == amount.to_integral_value() else format(amount, "f")
    return quantity.value < 0, f"{number} {word}"


def _calendar(quantity: QuantityValue) -> tuple[str, str, int]:
    unit = quantity.code or quantity.unit or ""
    unit = UCUM_OF_CALENDAR.get(CALENDAR_WORDS.get(unit, ""), unit)
    unit = unit if unit in _CALENDAR else alias(unit) or unit
    if unit not in _CALENDAR:
        raise NotComputable(f"{unit!r} is not a unit of time" if unit else "a quantity of time has no unit")
    return _CALENDAR[unit]


def calendar_unit(quantity: QuantityValue) -> str:
    """The FHIRPath calendar unit of a quantity of time, in the plural. Raises NotComputable for any other unit."""
    return _calendar(quantity)[0]


def shifted(date: str, quantity: QuantityValue) -> str:
    """FHIRPath for a date moved by a quantity of time."""
    moved = calendar_duration(quantity)
    if moved is None:
        return date
    return f"({date} {'-' if moved[0] else '+'} {moved[1]})"


def quantity_literal(quantity: QuantityValue) -> str:
    """FHIRPath literal of a quantity: a bare number where it has no unit."""
    if quantity.value is None:
        raise NotComputable("a quantity has no value")
    number = format(quantity.value, "f")
    unit = quantity.code or quantity.unit
    return f"{number} {quoted(unit)}" if unit and unit != "1" else number


def comparator(quantity: QuantityValue, default: str = "=") -> str:
    """FHIRPath operator of a quantity's comparator. Raises NotComputable for `ad`."""
    if quantity.comparator is None:
        return default
    if quantity.comparator not in ("<", "<=", ">", ">="):
        raise NotComputable(f"the comparator {quantity.comparator!r} has no truth value")
    return quantity.comparator


def has_unit(quantity: QuantityValue) -> bool:
    """Whether a quantity is not a bare number."""
    return bool((quantity.code or quantity.unit) and (quantity.code or quantity.unit) != "1")
