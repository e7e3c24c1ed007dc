"""Trial eligibility over FHIR: published criteria in, three-valued verdicts with evidence and DICOM UIDs out.

    >>> import fhir_eligibility
    >>> criteria = fhir_eligibility.load_criteria("criteria/flute/mr")
    >>> for verdict in fhir_eligibility.screen(criteria, "criteria/flute/cohort"):
    ...     print(verdict.patient, verdict.verdict)

Names load when they are first used, so that `import fhir_eligibility` stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fhir_eligibility.version import __version__

if TYPE_CHECKING:
    from fhir_eligibility.algebra.diagnostic import Diagnostic, DiagnosticError, EvaluationError
    from fhir_eligibility.algebra.reasons import Reason
    from fhir_eligibility.compiler.criteria.fhirpath import compile_fhirpath
    from fhir_eligibility.data.files.problems import Problem
    from fhir_eligibility.data.patients.compartment import Compartment
    from fhir_eligibility.data.patients.reader import compartments_of
    from fhir_eligibility.data.server.client import Server
    from fhir_eligibility.data.server.smart import credentials_of
    from fhir_eligibility.data.terminology.files import TerminologyOptions
    from fhir_eligibility.evaluation.verdict import Verdict
    from fhir_eligibility.runners.screening.criteria import Criteria, load_criteria
    from fhir_eligibility.runners.screening.screening import screen
    from fhir_eligibility.runners.server.fetching import server_patients

__all__ = [
    "Compartment",
    "Criteria",
    "Diagnostic",
    "DiagnosticError",
    "EvaluationError",
    "Problem",
    "Reason",
    "TerminologyOptions",
    "Server",
    "Verdict",
    "__version__",
    "compartments_of",
    "compile_fhirpath",
    "credentials_of",
    "load_criteria",
    "screen",
    "server_patients",
]

_WHERE = {
    "Compartment": "fhir_eligibility.data.patients.compartment",
    "Criteria": "fhir_eligibility.runners.screening.criteria",
    "Diagnostic": "fhir_eligibility.algebra.diagnostic",
    "DiagnosticError": "fhir_eligibility.algebra.diagnostic",
    "EvaluationError": "fhir_eligibility.algebra.diagnostic",
    "Problem": "fhir_eligibility.data.files.problems",
    "Server": "fhir_eligibility.data.server.client",
    "Reason": "fhir_eligibility.algebra.reasons",
    "TerminologyOptions": "fhir_eligibility.data.terminology.files",
    "Verdict": "fhir_eligibility.evaluation.verdict",
    "compartments_of": "fhir_eligibility.data.patients.reader",
    "compile_fhirpath": "fhir_eligibility.compiler.criteria.fhirpath",
    "credentials_of": "fhir_eligibility.data.server.smart",
    "server_patients": "fhir_eligibility.runners.server.fetching",
    "load_criteria": "fhir_eligibility.runners.screening.criteria",
    "screen": "fhir_eligibility.runners.screening.screening",
}


def __getattr__(name: str) -> Any:
    module = _WHERE.get(name)
    if module is None:
        raise AttributeError(f"module 'fhir_eligibility' has no attribute {name!r}")
    return getattr(import_module(module), name)


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
