"""`eligibility requirements`: what data criteria, a measure or a library read."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from fhir_eligibility.algebra.diagnostic import DiagnosticError
from fhir_eligibility.artifacts.records import ParameterValue
from fhir_eligibility.compiler.analysis.requirements import DataRequirement
from fhir_eligibility.compiler.criteria.cql import clock_of, data_requirements
from fhir_eligibility.compiler.criteria.library import LoadedLibrary
from fhir_eligibility.compiler.criteria.parameters import check_given
from fhir_eligibility.compiler.criteria.rules import cql_codes
from fhir_eligibility.compiler.runtime.cql import Run
from fhir_eligibility.output.requirements import module_definition, type_filters, type_parameter
from fhir_eligibility.runners.measures.measuring import MeasureOptions, load_measure, run_of
from fhir_eligibility.runners.screening.criteria import load_criteria
from fhir_eligibility.ui.commands.cql_session import given_parameters
from fhir_eligibility.ui.commands.date_options import add_date_options, run_of_options
from fhir_eligibility.ui.options.command_parser import STATUSES_OF_TEXT, CommandParser
from fhir_eligibility.ui.options.options import add_config_options, add_criteria_argument, add_libraries_option

OK, ERRORS = 0, 2


def add_options(command: CommandParser) -> None:
    """What the command is told."""
    add_criteria_argument(command, "criteria, a Measure, or a CQL library")
    group = command.add_argument_group("what is shown")
    group.add_argument("--bulk", action="store_true", help="print _type and _typeFilter of a bulk export instead")
    group = command.add_argument_group("what criteria read")
    group.add_argument("--fhir", metavar="VERSION", help="FHIR version of the patients (default: r4)")
    add_libraries_option(group)
    add_date_options(group)
    add_config_options(command)
    command.describe(
        "eligibility requirements criteria/flute/mr",
        "eligibility requirements criteria/flute/cql/mr --libraries criteria/flute/cql --bulk",
        statuses=STATUSES_OF_TEXT,
        page="fetching.md",
    )
    command.set_defaults(run=requirements_command)


def requirements_command(options: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    try:
        name, found = requirements_of(
            options.criteria,
            options.libraries,
            options.fhir,
            run_of_options(options),
            given_parameters(options.parameters),
            options.study_start,
        )
    except DiagnosticError as error:
        print(error, file=sys.stderr)
        return ERRORS
    if not found:
        print("eligibility: there is nothing that reads data in these files", file=sys.stderr)
        return ERRORS
    if options.bulk:
        print(f"_type={type_parameter(found)}")
        for text in type_filters(found, dates=options.date_filters):
            print(f"_typeFilter={text}")
    else:
        print(json.dumps(module_definition(name, found), indent=2, ensure_ascii=False))
    return OK


def requirements_of(
    paths: list[str],
    libraries: list[str],
    version: str | None,
    run: Run,
    parameters: Sequence[ParameterValue] = (),
    study_start: str | None = None,
) -> tuple[str, dict[str, DataRequirement]]:
    """A name for what is in some files, and what it reads in a run. Raises FileNotFoundError, DiagnosticError, ValueError."""
    criteria = load_criteria(
        *paths,
        on_error="keep",
        fhir_version=version,
        libraries=libraries,
        allow_missing_valuesets=True,
        parameters=parameters,
        study_start=study_start,
    )
    merged: dict[str, DataRequirement] = {}
    if criteria.rules:
        check_given((code.compiled for code in cql_codes(criteria.rules)), run.parameters)
        for rules in criteria.rules:
            for key, found in rules.requirements(run).items():
                merged.setdefault(key, DataRequirement(key)).add(found)
        for diagnostic in criteria.errors:
            print(diagnostic.render(), file=sys.stderr)
        return criteria.rules[0].title, merged
    for path in paths:
        if not Path(path).is_file():
            continue
        loaded = load_measure(path, libraries=libraries, allow_missing_valuesets=True, parameters=parameters)
        own = run_of(loaded, MeasureOptions(now=run.moment, parameters=run.parameters))
        clock = clock_of(LoadedLibrary(loaded.compiled), own)
        defines = [p.define for g in loaded.measure.groups for p in g.populations] or list(loaded.compiled.defines)
        known = [define for define in defines if define in loaded.compiled.defines]
        for key, found in data_requirements(loaded.compiled, known, clock).items():
            merged.setdefault(key, DataRequirement(key)).add(found)
        return loaded.measure.title or loaded.measure.key, merged
    return "", merged
