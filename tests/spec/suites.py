"""All official suites."""

from __future__ import annotations

from tests.spec import cql_suite, ecqm_suite, fhirpath_suite, verdict_suite

SUITES = (*fhirpath_suite.SUITES, *cql_suite.SUITES, *verdict_suite.SUITES, *ecqm_suite.SUITES)
