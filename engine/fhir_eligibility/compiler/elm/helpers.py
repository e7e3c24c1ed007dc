"""FHIRHelpers, which is part of this engine: its functions beyond the implicit conversions, and whether a file given is the published one.

The conversions that CQL applies by itself stand in `types` and `emit_fhir`; what these functions do at run time in `fhir_values`.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

from msgspec import Struct

from fhir_eligibility.algebra.diagnostic import Diagnostic, Source, Span
from fhir_eligibility.compiler.elm.types import QUANTITY, STRING, VALUESET, IntervalType, Named, Type
from fhir_eligibility.compiler.syntax.lexer import tokenize


class Helper(Struct, frozen=True):
    """A function of FHIRHelpers: the type it takes, the type it gives, and the function of the runtime that does it."""

    name: str
    operand: Type
    result: Type
    function: str


FUNCTIONS: tuple[Helper, ...] = (
    Helper("ToInterval", Named("FHIR.Quantity"), IntervalType(QUANTITY), "quantity_bounds"),
    Helper("ToQuantityIgnoringComparator", Named("FHIR.Quantity"), QUANTITY, "quantity_without_comparator"),
    Helper("ToCalendarUnit", STRING, STRING, "calendar_unit"),
    Helper("ToValueSet", STRING, VALUESET, "to_value_set"),
    Helper("reference", STRING, Named("FHIR.Reference"), "reference_to"),
)
# Declared there without a body: what they do is left to the system that runs the library.
EXTERNAL = frozenset(
    "resolve reference extension modifierExtension hasValue getValue ofType is as elementDefinition slice checkModifiers "
    "conformsTo memberOf subsumes subsumedBy htmlChecks".split()
)
NAMES = frozenset(helper.name for helper in FUNCTIONS) | {
    "ToBoolean", "ToCode", "ToConcept", "ToDate", "ToDateTime", "ToDecimal", "ToInteger", "ToInterval", "ToQuantity", "ToRatio",
    "ToString", "ToTime", "ToValue",
}  # fmt: skip
# `digest` of the published texts for FHIR R4: 4.0.0, 4.0.1 (two editions), 4.1.000, 4.4.000.
PUBLISHED = frozenset(
    (
        "65a3647c080d16f50472ec1f1ac38ac38e2042b1a2cbfb1bbc28cf4f0563329c",
        "0f722e0985055c199ffc2c741fc1435c32641fa49ddeb52dcbf65a2fed1ae4ca",
        "890459940ed5ab86773e31fa7423e0f2f79865d5188eca8000bb02b24504b53d",
        "493e7836dc831f836491492642dbe88168b46306046e7d379813875a036994c3",
        "f8e0e864445e0519f0ec360b1ee7da0e62ee5ef641b070ec149750f3b642caff",
    )
)


@lru_cache(maxsize=16)
def digest(text: str) -> str:
    """A hash of the tokens of a library: comments and white space do not count."""
    tokens, _ = tokenize(Source("FHIRHelpers", text))
    return hashlib.sha256("\x00".join(f"{token.kind} {token.text}" for token in tokens).encode()).hexdigest()


def not_used(given: Source, including: Source, span: Span) -> Diagnostic | None:
    """`fhir-helpers`, a warning: the file with FHIRHelpers that was given is another than the published one, and not used."""
    if given.text.lstrip().startswith("{") or digest(given.text) in PUBLISHED:
        return None
    message = (
        f"FHIRHelpers is part of this engine: the functions of {given.name}, which is not as published, are not used"
    )
    hint = "give the library another name, where its own functions are meant"
    return Diagnostic("fhir-helpers", message, "warning", including, span, hint)
