"""A characteristic that cannot be compiled because of an error of this program: named, unknown for everyone, and the others go on."""

from __future__ import annotations

import os

from fhir_eligibility.algebra.diagnostic import Diagnostic

TRACEBACK = "FHIR_ELIGIBILITY_TRACEBACK"
"""A variable of the environment: where it is set, an error of the program ends the command and shows all of its steps."""


def program_error(what: str, place: str, error: Exception) -> tuple[str, Diagnostic]:
    """Why a characteristic has no code, and the diagnostic that says so: `what` names the artifact, the characteristic and the form. Raises the error itself where steps are wanted."""
    if os.environ.get(TRACEBACK):
        raise error
    found = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    detail = f"could not be compiled because of an error of this program ({found})"
    hint = f"report it; with {TRACEBACK}=1 in the environment the command stops there and shows where"
    return detail, Diagnostic("program-error", f"{what} {detail}", location=place, hint=hint)
