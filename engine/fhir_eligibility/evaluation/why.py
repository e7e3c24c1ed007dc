"""Why a criterion is unknown for a patient: by a row in doubt, or because the expression has no answer."""

from __future__ import annotations

from fhir_eligibility.algebra.reasons import Reason
from fhir_eligibility.compiler.criteria.cql import CqlCode
from fhir_eligibility.compiler.criteria.fhirpath_code import FhirPathCriterion
from fhir_eligibility.evaluation.tracing import CODE_SITE, Doubt, PatientEnvironment, Trace
from fhir_eligibility.evaluation.unknowns import Why, is_resource, lacking, why_unknown

AnyCode = FhirPathCriterion | CqlCode


def why_in_doubt(code: AnyCode, doubt: Doubt, environment: PatientEnvironment) -> Why:
    """Why a criterion is unknown that has another answer where a row in doubt counts."""
    row = f"{doubt.row['resourceType']}/{doubt.row.get('id', '(no id)')}" if is_resource(doubt.row) else "an element"
    if doubt.why is not None:
        return doubt.reason, f"{row}: {doubt.why}"
    clause = code.clause(doubt.site, doubt.clause)
    reference = environment.trace_of_run.unresolved.get(id(doubt.row))
    if reference is not None and "resolve()" in clause:
        sentence = f"{row} refers to {reference}, which is not among the data: what it is cannot be told"
        return Reason.UNRESOLVED_REFERENCE, sentence
    if doubt.site == CODE_SITE:
        return Reason.MISSING_VALUE, f"{row} has the code {doubt.code} without a code system"
    known = code.sentences.get(clause) if isinstance(code, FhirPathCriterion) else None
    if known is not None:
        return Reason.MISSING_VALUE, f"{row}: {known}"
    reason, sentence = _why_undecided(code, doubt, environment)
    return reason, f"{row}: `{clause}` cannot be decided: {sentence}"


def _why_undecided(code: AnyCode, doubt: Doubt, environment: PatientEnvironment) -> Why:
    """Why the condition of a row has no answer: by a comparison inside it, by an element that the row lacks, or by one that it refers to."""
    records = environment.records()
    inside = [one for one in doubt.unknowns if code.inside(one.site, doubt.site, doubt.clause)]
    own = next((one for one in inside if any(owner is doubt.row for owner in one.owners)), None)
    if own is not None:
        return why_unknown(own, code, records)
    found = lacking(doubt.row, code.elements(doubt.site, doubt.clause), records)
    if found is not None:
        return found
    referred = next(iter(inside), None) or next(iter(doubt.unknowns), None)
    if referred is not None:
        return why_unknown(referred, code, records)
    return Reason.MISSING_VALUE, "a value that is needed is not recorded"


def why_unanswered(code: AnyCode, trace: Trace, environment: PatientEnvironment) -> Why:
    """Why a criterion without rows in doubt has no answer."""
    if environment.compartment.patient is None and not trace.rows:
        return Reason.NO_DATA, "the Patient resource is not among the data"
    if trace.unknowns:
        return why_unknown(trace.unknowns[0], code, environment.records())
    return Reason.MISSING_VALUE, "the expression has no value for this patient"
