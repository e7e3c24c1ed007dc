"""Trial eligibility over FHIR: published criteria in, three-valued verdicts with evidence and DICOM UIDs out.

    >>> import engine
    >>> criteria = engine.load_criteria("criteria/flute/mr")
    >>> for verdict in engine.screen(criteria, "criteria/flute/cohort"):
    ...     print(verdict.patient, verdict.verdict)

Names load when they are first used, so that `import engine` stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from engine.version import __version__

if TYPE_CHECKING:
    from engine.algebra.diagnostic import Diagnostic, DiagnosticError, EvaluationError
    from engine.algebra.reasons import Reason
    from engine.compiler.fhirpath import compile_fhirpath
    from engine.data.compartment import Compartment
    from engine.data.problems import Problem
    from engine.data.reader import compartments_of
    from engine.data.server.client import Server
    from engine.data.server.smart import credentials_of
    from engine.data.terminology_files import TerminologyOptions
    from engine.evaluation.verdict import Verdict
    from engine.runners.criteria import Criteria, load_criteria
    from engine.runners.fetching import server_patients
    from engine.runners.screening import screen

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
    "Compartment": "engine.data.compartment",
    "Criteria": "engine.runners.criteria",
    "Diagnostic": "engine.algebra.diagnostic",
    "DiagnosticError": "engine.algebra.diagnostic",
    "EvaluationError": "engine.algebra.diagnostic",
    "Problem": "engine.data.problems",
    "Server": "engine.data.server.client",
    "Reason": "engine.algebra.reasons",
    "TerminologyOptions": "engine.data.terminology_files",
    "Verdict": "engine.evaluation.verdict",
    "compartments_of": "engine.data.reader",
    "compile_fhirpath": "engine.compiler.fhirpath",
    "credentials_of": "engine.data.server.smart",
    "server_patients": "engine.runners.fetching",
    "load_criteria": "engine.runners.criteria",
    "screen": "engine.runners.screening",
}


def __getattr__(name: str) -> Any:
    module = _WHERE.get(name)
    if module is None:
        raise AttributeError(f"module 'engine' has no attribute {name!r}")
    return getattr(import_module(module), name)


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
