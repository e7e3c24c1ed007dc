"""Properties of the patient: age, administrative gender, and whether they live, as FHIRPath on the Patient.

Some concepts are properties of the patient wherever they stand: SNOMED CT "Male", "Adult" and "Dead" are found in no Condition.
"""

from __future__ import annotations

from decimal import Decimal

from msgspec import Struct

from fhir_eligibility.algebra.reasons import Reason
from fhir_eligibility.artifacts.records import CodedConcept, QuantityValue, Value
from fhir_eligibility.compiler.forms.base import (
    NotComputable,
    calendar_unit,
    comparator,
    has_unit,
    label,
    quoted,
)

SNOMED = "http://snomed.info/sct"
GENDER_SYSTEM = "http://hl7.org/fhir/administrative-gender"
_GENDERS = {
    "male": "male",
    "female": "female",
    "other": "other",
    "unknown": "unknown",
    "m": "male",
    "f": "female",
    "248152002": "female",
    "248153007": "male",
    "703117000": "male",
    "703118005": "female",
}
_DEAD = ("419099009", "419620001", "397709008")
_ALIVE = ("438949009",)

# Ages of a code, in years: from, and up to but not including. MeSH defines its age groups by limits; SNOMED CT does not, but
# "adult" is read as of age everywhere. Of the others the limits differ between authors: a person has to say them.
_MESH = (
    "https://meshb.nlm.nih.gov",
    "https://www.nlm.nih.gov/mesh",
    "http://id.nlm.nih.gov/mesh",
    "http://www.nlm.nih.gov/mesh",
)
_MESH_BANDS: dict[str, tuple[int | None, int | None]] = {
    "D000328": (19, 45),
    "D000368": (65, None),
    "D000369": (80, None),
    "D008875": (45, 65),
    "D000293": (13, 19),
    "D055815": (19, 25),
    "D002648": (6, 13),
    "D002675": (2, 6),
}
_SNOMED_BANDS: dict[str, tuple[int | None, int | None]] = {"133936004": (18, None)}
_BANDS_WITHOUT_LIMITS = ("133931009", "133933007", "133937008", "67822003", "105436006")


class PatientTest(Struct):
    """FHIRPath on the Patient, and what a reader has to know of how the concept was understood."""

    text: str
    note: str | None = None


def concept_on_patient(concept: CodedConcept) -> PatientTest | None:
    """The test of a concept that is a property of the patient by itself; None for any other concept.

    Several codings are alternatives. Raises NotComputable for an age group whose limits nobody defines.
    """
    tests: dict[str, None] = {}
    notes: dict[str, None] = {}
    for coding in concept.codings:
        code = coding.code or ""
        band = _band(coding.system, code)
        if coding.system == SNOMED and code in _DEAD:
            tests[DEAD] = None
        elif coding.system == SNOMED and code in _ALIVE:
            tests[f"({DEAD}).not()"] = None
        elif coding.system in (SNOMED, GENDER_SYSTEM) and code in _GENDERS:
            tests[_gender_is(_GENDERS[code])] = None
        elif band is not None:
            tests[_in_band(*band, "today()")] = None
            notes[_band_note(coding.display or code, *band)] = None
        elif coding.system == SNOMED and code in _BANDS_WITHOUT_LIMITS:
            raise NotComputable(
                f"{label(concept)!r} is an age group whose limits its code system does not define", Reason.NEEDS_REVIEW
            )
    if not tests:
        return None
    return PatientTest(any_of(list(tests)), "; ".join(notes) or None)


def is_dead(concept: CodedConcept) -> bool:
    """Whether a concept is death, so that it has a date: Patient.deceased."""
    return any(coding.system == SNOMED and coding.code in _DEAD for coding in concept.codings)


DEAD = "Patient.deceased.ofType(boolean) = true or Patient.deceased.ofType(dateTime).exists()"
DEATH_DATE = "Patient.deceased.ofType(dateTime)"


def any_of(tests: list[str]) -> str:
    """FHIRPath that holds where one of some tests does."""
    return tests[0] if len(tests) == 1 else " or ".join(f"({test})" for test in tests)


def gender_test(value: Value | None) -> str:
    """Administrative gender; several codings are alternatives. Raises NotComputable."""
    concept = value.concept if value is not None else None
    if concept is None:
        raise NotComputable("gender is compared with a coded value, and there is none")
    names = [coding.code or coding.display or "" for coding in concept.codings]
    found = [_GENDERS[name.lower()] for name in names if name.lower() in _GENDERS]
    if not found and (concept.text or "").strip().lower() in _GENDERS:
        found = [_GENDERS[(concept.text or "").strip().lower()]]
    if not found:
        raise NotComputable(f"expected an administrative gender, found {label(concept)!r}", Reason.NEEDS_REVIEW)
    return any_of([_gender_is(gender) for gender in dict.fromkeys(found)])


def _gender_is(gender: str) -> str:
    """Data that records the gender as unknown, or by a word that FHIR does not have, does not tell whether it is another one."""
    test = f"Patient.gender = {quoted(gender)}"
    if gender == "unknown":
        return test
    return f"({test} or ((Patient.gender = 'male' or Patient.gender = 'female' or Patient.gender = 'other').not() and {{}}))"


def age_test(value: Value | None, today: str = "today()") -> PatientTest:
    """Age on a day (FHIRPath for a date; default: that of evaluation). Raises NotComputable."""
    if value is not None and value.range is not None:
        parts = []
        if value.range.low is not None:
            parts.append(_compared(value.range.low, ">=", today))
        if value.range.high is not None:
            parts.append(_compared(value.range.high, "<=", today))
        if parts:
            return PatientTest(" and ".join(parts))
    if value is not None and value.quantity is not None:
        return PatientTest(_compared(value.quantity, comparator(value.quantity), today))
    if value is not None and value.concept is not None:
        return _age_in_bands(value.concept, today)
    raise NotComputable(
        "age is compared with a quantity, a range or an age group, and there is none", Reason.NEEDS_REVIEW
    )


def _age_in_bands(concept: CodedConcept, today: str) -> PatientTest:
    found = {_band(coding.system, coding.code or ""): coding.display or coding.code or "" for coding in concept.codings}
    bands = {band: name for band, name in found.items() if band is not None}
    if not bands:
        raise NotComputable(
            f"expected an age group whose limits are defined, found {label(concept)!r}", Reason.NEEDS_REVIEW
        )
    notes = "; ".join(_band_note(name, *band) for band, name in bands.items())
    return PatientTest(any_of([_in_band(*band, today) for band in bands]), notes)


def _band(system: str | None, code: str) -> tuple[int | None, int | None] | None:
    if system == SNOMED:
        return _SNOMED_BANDS.get(code)
    return _MESH_BANDS.get(code) if (system or "").rstrip("/") in _MESH else None


def _in_band(low: int | None, below: int | None, today: str) -> str:
    parts = []
    if low is not None:
        parts.append(_at_least(low, "years", today))
    if below is not None:
        parts.append(f"({_at_least(below, 'years', today)}).not()")
    return " and ".join(parts)


def _band_note(name: str, low: int | None, below: int | None) -> str:
    ages = f"{low or 0} years and older" if below is None else f"{low or 0} to {below - 1} years"
    return f"the age group {name!r} is read as {ages}"


def _compared(quantity: QuantityValue, sign: str, today: str) -> str:
    """Age against a limit, in whole units of the limit; a fraction is counted in a smaller unit in which it is whole."""
    amount, unit, exact = _whole(quantity)
    if sign == "=":
        if not exact:
            raise NotComputable(f"no age is exactly {quantity.value} {quantity.code or quantity.unit or 'a'}")
        return f"{_at_least(amount, unit, today)} and ({_at_least(amount + 1, unit, today)}).not()"
    following = sign in (">", "<=") or not exact
    reached = _at_least(amount + 1 if following else amount, unit, today)
    return reached if sign in (">", ">=") else f"({reached}).not()"


_FINER = {"years": ("months", Decimal(12)), "months": ("days", Decimal("30.4375")), "weeks": ("days", Decimal(7))}
_COARSER = {"hours": 24, "minutes": 24 * 60, "seconds": 24 * 3600, "milliseconds": 24 * 3600 * 1000}


def _whole(quantity: QuantityValue) -> tuple[int, str, bool]:
    """An age as a whole number of a calendar unit, and whether that is exactly what was written."""
    if quantity.value is None:
        raise NotComputable("a quantity has no value")
    if quantity.value < 0:
        raise NotComputable("an age cannot be negative")
    amount = quantity.value
    unit = calendar_unit(quantity) if has_unit(quantity) else "years"
    if unit in _COARSER:  # a birth date is no more precise than a day
        amount, unit = amount / _COARSER[unit], "days"
    while amount != amount.to_integral_value() and unit in _FINER:
        unit, factor = _FINER[unit]
        amount *= factor
    return int(amount), unit, amount == amount.to_integral_value()


def _at_least(amount: int, unit: str, today: str) -> str:
    if amount == 0:
        return f"Patient.birthDate <= {today}"
    return f"Patient.birthDate <= {today} - {amount} {unit}"
