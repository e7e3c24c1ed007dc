"""What compiling a text, and evaluating one criterion for one patient, may cost, whoever wrote it. What exceeds a limit is `limit-exceeded`.

Limits on sizes are the same on every machine, and are far beyond what eligibility needs. They are here, but for that of `expand`
(`fhir_eligibility.algebra.operators.partition`, error `expand-limit`). The time that a criterion may take is an option of whoever screens (see
`fhir_eligibility.evaluation.time_limit`).
"""

from __future__ import annotations

import threading
from decimal import Decimal
from fractions import Fraction
from typing import Any, NoReturn

from fhir_eligibility.algebra.diagnostic import EvaluationError

CODE = "limit-exceeded"
MAX_TEXT = 1_048_576
"""Characters of a text that an operator makes: what FHIR allows a `string` (FHIR: Data Types, string)."""
MAX_CHARACTERS = 100_000_000
"""Characters of all the texts that one criterion makes for one patient."""
MAX_ITEMS = 1_000_000
"""Items of a list that an expression makes."""
MAX_COMPARISONS = 10_000_000
"""Pairs that an operator on lists may have to compare, where equality of their items is decided pair by pair."""
MAX_EXPONENT = 1_000
"""Digits before or behind the point of a number that is written out, or computed with exactly."""
MAX_PATTERN = 10_000
"""Characters of a regular expression, and its size with its counted repetitions written out."""
MATCH_SECONDS = 2.0
"""Seconds that one regular expression may take on one text: it is the one limit here that depends on the machine."""
MAX_TOKENS = 200_000
"""Words and signs of one text that is compiled, an expression or a library; expressions of one library in ELM."""
_SHORT = 256  # texts up to this length are not counted: a list of them is limited by its items


class _Made(threading.local):
    characters = 0


_made = _Made()


def exceeded(message: str) -> NoReturn:
    """Raises EvaluationError `limit-exceeded`."""
    raise EvaluationError(CODE, message)


def restart() -> None:
    """Another criterion or patient begins: what was made before does not count."""
    _made.characters = 0


def room_for(length: int, what: str, given: int = 0) -> None:
    """Ask for room for a text before it is made; it may always be as long as the one `given`. Raises EvaluationError `limit-exceeded`."""
    if length <= _SHORT:
        return
    if length > MAX_TEXT and length > given:
        exceeded(f"{what} would give a text of {length:,} characters; the limit is {MAX_TEXT:,}")
    _made.characters += length
    if _made.characters > MAX_CHARACTERS:
        exceeded(f"{what} makes more than {MAX_CHARACTERS:,} characters of text in all")


def text(value: str, what: str, given: int = 0) -> str:
    """A text that was made of one of `given` characters. Raises EvaluationError `limit-exceeded` where it is too long."""
    if len(value) > _SHORT:
        room_for(len(value), what, given)
    return value


def room_for_items(count: int, what: str) -> None:
    """Ask for room for a list before it is made. Raises EvaluationError `limit-exceeded`."""
    if count > MAX_ITEMS:
        exceeded(f"{what} would give a list of {count:,} items; the limit is {MAX_ITEMS:,}")


def too_many_items() -> NoReturn:
    """Raises EvaluationError `limit-exceeded`: what emitted code calls for a list that has grown beyond MAX_ITEMS."""
    exceeded(f"the expression gives a list of more than {MAX_ITEMS:,} items")


def compared(pairs: int, what: str) -> None:
    """Ask for that many comparisons of pairs. Raises EvaluationError `limit-exceeded`."""
    if pairs > MAX_COMPARISONS:
        exceeded(f"{what} would compare {pairs:,} pairs of items; the limit is {MAX_COMPARISONS:,}")


def can_be_written(value: Decimal) -> bool:
    """Whether a number has few enough digits to be written without an exponent."""
    if "E" not in str(value):
        return True
    exponent: Any = value.as_tuple().exponent
    return exponent.__class__ is not int or (-MAX_EXPONENT <= exponent and value.adjusted() <= MAX_EXPONENT)


def written(value: Decimal) -> str:
    """A number in digits. Raises EvaluationError `limit-exceeded` where there are too many."""
    if not can_be_written(value):
        exceeded(f"the number {value:.3E} is not written out: it has more than {MAX_EXPONENT:,} digits")
    return format(value, "f")


def shown(value: Decimal) -> str:
    """A number for a reader: in digits, with an exponent where there would be too many."""
    return format(value, "f") if can_be_written(value) else f"{value:.6E}"


def exact(value: Decimal) -> Fraction:
    """A number as a fraction. Raises EvaluationError `limit-exceeded` where that has too many digits."""
    if not can_be_written(value):
        exceeded(f"the number {value:.3E} is not computed with: it has more than {MAX_EXPONENT:,} digits")
    return Fraction(value)
