"""The values of CQL parameters that a run was made with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from fhir_eligibility.compiler.criteria.parameters import used_parameters
from fhir_eligibility.compiler.criteria.rules import cql_codes
from fhir_eligibility.output.run_record import UsedParameter
from fhir_eligibility.runners.screening.criteria import Criteria


def parameters_used(criteria: Criteria, parameters: Mapping[tuple[str, str], Any]) -> list[UsedParameter]:
    """Those of some criteria, each once; `parameters` were given to the run."""
    found = dict.fromkeys(
        given for code in cql_codes(criteria.rules) for given in used_parameters(code.compiled, parameters, code.given)
    )
    return [UsedParameter(**asdict(given)) for given in found]
