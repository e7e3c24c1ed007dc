"""Before anything is evaluated: every value set that is needed is resolved, and what is missing, known in part, or chosen is said.

One finding a value set, at the first place that asks for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fhir_eligibility.algebra.diagnostic import Diagnostic, Severity
from fhir_eligibility.algebra.values.clinical import ValueSet
from fhir_eligibility.compiler.criteria.value_sets import ValueSetUse
from fhir_eligibility.compiler.runtime.membership import shown
from fhir_eligibility.data.terminology.value_sets import Terminology

_HINTS = {
    "valueset-version": "name the version: in the declaration, or by a manifest (--manifest)",
    "terminology-server": "give the value set as a file (--valuesets), or see to the server",
}


@dataclass(frozen=True, slots=True)
class CheckedValueSet:
    """A value set as a run used it. `digest` is of its codes, whatever their order; `complete` is false where more may belong to it."""

    url: str
    version: str | None
    codes: int
    complete: bool
    digest: str
    origin: str


def check_value_sets(
    needed: Mapping[str, Sequence[ValueSetUse]], terminology: Terminology, allowed: bool, location: str | None = None
) -> list[Diagnostic]:
    """Findings about the value sets that are needed: `missing-valueset` (an error unless `allowed`), and warnings."""
    found: list[Diagnostic] = []
    for uses in needed.values():
        declared: dict[ValueSet, ValueSetUse] = {}
        for use in uses:
            declared.setdefault(use.value_set, use)
        for value_set, use in declared.items():
            resolved = terminology.resolve(value_set)

            def say(code: str, message: str, severity: Severity, hint: str | None, use: ValueSetUse = use) -> None:
                found.append(Diagnostic(code, message, severity, use.source, use.span, hint, location))

            for code, message in resolved.notes:
                say(code, message, "warning", _HINTS.get(code))
            if resolved.expansion is None:
                hint = "give the file or folder that holds it (--valuesets), or a server (--terminology-server)"
                message = f"the value set {shown(value_set)} {resolved.why}"
                say("missing-valueset", message, "warning" if allowed else "error", hint)
            elif not resolved.expansion.complete:
                message = f"the value set {shown(value_set)} is known only in part: {resolved.expansion.why}"
                hint = "patients of whom it cannot be told are undetermined; give what is missing to decide them"
                say("incomplete-valueset", message, "warning", hint)
    return found


def used_value_sets(terminology: Terminology) -> list[CheckedValueSet]:
    """The value sets that were asked for and found, in the order of their urls."""
    found: dict[tuple[str, str | None, str], CheckedValueSet] = {}
    for key in terminology.asked:
        resolved = terminology.resolved.get(key)
        if resolved is None or resolved.record is None or resolved.expansion is None:
            continue
        record, expansion = resolved.record, resolved.expansion
        used = CheckedValueSet(
            record.url,
            record.version,
            len(expansion.codes),
            expansion.complete,
            expansion.digest(),
            record.origin,
        )
        found[used.url, used.version, used.digest] = used
    return [found[key] for key in sorted(found, key=str)]
