"""Whose record a related-context retrieve looks at: `["Mother" -> Observation: ...]` (CQL 1.5 developer's guide: "Related Context Retrieves").

The value before `->` identifies a patient: a Patient, a RelatedPerson who is a patient as well, a Reference to either, or an id. Null gives an empty
list. Who is among the data is not known here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fhir_eligibility.algebra.diagnostic import EvaluationError
from fhir_eligibility.algebra.values.element import Element

PERSONS = ("Patient", "RelatedPerson")
Resource = dict[str, Any]
# From a resource or a reference to a person's record, None where it is not among the data.
Others = Callable[[Resource | str], Any]


def identified(context: Any) -> Resource | str:
    """The resource or the reference (`Type/id`, a URL or URN) that a context value means; an id is a Patient's.

    Raises EvaluationError `related-patient-missing` for a reference without target, `related-context` for what is no person.
    """
    while context.__class__ is Element:
        context = context.value
    if context.__class__ is dict:
        kind = context.get("resourceType")
        if kind in PERSONS:
            return context
        if kind is not None:
            raise EvaluationError(
                "related-context", f"expected a patient whose data can be retrieved, found {named(context)}"
            )
        written = context.get("reference")
        if not isinstance(written, str):
            shown = context.get("display") or context.get("identifier") or "nothing"
            raise EvaluationError(
                "related-patient-missing", f"the reference names no resource that could be followed, only {shown}"
            )
        context = written
    if not isinstance(context, str):
        raise EvaluationError("related-context", f"{str(context)[:60]} identifies no patient")
    if "/" in context or ":" in context:
        return context
    return f"Patient/{context}"


def named(asked: Resource | str) -> str:
    """A resource or reference as messages name it."""
    return asked if isinstance(asked, str) else f"{asked.get('resourceType')}/{asked.get('id', '(no id)')}"


def missing(asked: Resource | str) -> EvaluationError:
    """The error where the record of a person is not among the data."""
    name = named(asked)
    if "RelatedPerson/" in name:
        message = f"no Patient among the data is linked to {name} (Patient.link.other), so that there is no record of that person to look at"
    else:
        message = f"the record of {name} is not among the data"
    return EvaluationError("related-patient-missing", message)


def out_of_reach(asked: Resource | str) -> EvaluationError:
    """The error where other patients' records cannot be had at all."""
    message = f"data is read one patient at a time here, so that the record of {named(asked)} cannot be looked at"
    return EvaluationError("one-patient-at-a-time", f"{message}: give the data of all patients as files")


class RelatedContexts:
    """Finds the records of related persons, each once. `others` is None where they are out of reach."""

    memo: dict[Any, Any]
    subject: Any
    others: Others | None = None

    def related(self, context: Any) -> Any:
        """The patient, to be asked for resources, whom a context value identifies.

        Raises EvaluationError `related-patient-missing`, and `one-patient-at-a-time` where no other patient can be reached.
        """
        asked = identified(context)
        if asked is self.subject:
            return self
        key = "related", asked if isinstance(asked, str) else id(asked)
        found = self.memo.get(key)
        if found is None:
            found = self.other(asked)
            if found is None:
                raise missing(asked)
            self.memo[key] = found
        return found

    def other(self, asked: Resource | str) -> Any:
        """The patient of a resource or reference, None where they are not among the data. Raises EvaluationError `one-patient-at-a-time`."""
        if self.others is None:
            raise out_of_reach(asked)
        return self.others(asked)
