"""A patient of the data as CQL sees it: retrieves from the compartment, and from what is about no patient (CQL: "Context")."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from fhir_eligibility.compiler.runtime.cql import Patient, Run
from fhir_eligibility.compiler.runtime.related import out_of_reach
from fhir_eligibility.compiler.runtime.retrieving import RetrieveSpec
from fhir_eligibility.data.patients.compartment import Compartment, Resource
from fhir_eligibility.data.records.in_doubt import InDoubt


class CompartmentPatient(Patient):
    """One patient of a run with the data of a compartment, who leads to the others of the data (`[x -> Type]`)."""

    def __init__(self, run: Run, compartment: Compartment) -> None:
        self.compartment = compartment
        self._reached: dict[int, tuple[Resource, Any]] = {}
        super().__init__(run, compartment.patient)

    def of_type(self, resource_type: str) -> list[Any]:
        """The resources of a type: those about the patient, and those that are about no patient."""
        return self.compartment.of_type(resource_type)

    def _plainly(self, spec: RetrieveSpec, codes: Any) -> list[Any] | None:
        kind = spec.resource_type
        shared = self.compartment.shared
        if shared is None or kind not in shared.by_type:
            return super()._plainly(spec, codes)
        asked = spec, codes, self.membership, self.ignore_profiles
        found = shared.remembered(asked, partial(self._plain_rows, shared.by_type[kind], spec, codes))
        own = self.compartment.resources.get(kind)
        if not own or found is None:
            return found  # type: ignore[no-any-return]
        rows = self._plain_rows(own, spec, codes)
        return None if rows is None else [*rows, *found]

    def other(self, asked: Resource | str) -> CompartmentPatient | None:
        """The patient of a resource or reference. Raises EvaluationError `one-patient-at-a-time`."""
        if self.compartment.others is None:
            raise out_of_reach(asked)
        found = self.compartment.others(asked)
        return None if found is None else CompartmentPatient(self.run, found)

    def referred(self, reference: str, holder: Any) -> Any:
        """The resource that a reference means as it stands in its holder."""
        found = self.compartment.resolve(reference, holder)
        if found is not None and self.compartment.reached is not None:
            self._reached[id(found)] = found, holder
        return found

    def doubts(self) -> Sequence[InDoubt]:
        """The records in doubt that retrieves find or references led to."""
        found, reached = self.compartment.in_doubt, self.compartment.reached
        if not self._reached or reached is None:
            return found
        return [*found, *(one for pair in self._reached.values() for one in reached(*pair))]
