"""Every fast path, and the tests that hold it to the slow way. `test_fast_paths` checks that both are there.

The ways tests go over generated criteria and patients with holes; the others hold a fast path by itself to what it stands for, over data of any shape.
"""

from __future__ import annotations

FHIRPATH, CQL, RUNS = "tests/paths/test_fhirpath_ways.py", "tests/paths/test_cql_ways.py", "tests/paths/test_runs.py"

FAST_PATHS: dict[str, tuple[str, ...]] = {
    # null checks left out
    "fhir_eligibility.compiler.emit.certainty:KnownValues.nullable": (FHIRPATH, CQL, "tests/paths/test_node_kinds.py", "tests/paths/test_operator_traits.py"),
    "fhir_eligibility.compiler.emit.certainty:KnownValues.has_no_null": (CQL,),
    # early exit, values used again
    "fhir_eligibility.compiler.emit.items:first_item": (FHIRPATH, "tests/paths/test_known_differences.py"),
    "fhir_eligibility.compiler.emit.emitter:Emitter.first_of": (CQL,),
    "fhir_eligibility.compiler.emit.reuse:Reuse": (FHIRPATH, CQL, "tests/compiler/test_reuse.py"),
    # tests of text and types in place
    "fhir_eligibility.compiler.emit.filters:_text_asked": (FHIRPATH, "tests/compiler/test_fast_paths_of_fhirpath.py"),
    "fhir_eligibility.compiler.emit.certainty:texts_of": (CQL, "tests/compiler/test_fast_paths_of_cql.py"),
    "fhir_eligibility.compiler.emit.fast_paths:of_choice": (CQL, "tests/compiler/test_fast_paths_of_cql.py"),
    "fhir_eligibility.compiler.emit.fast_paths:is_of": (CQL, "tests/compiler/test_fast_paths_of_cql.py"),
    "fhir_eligibility.compiler.emit.fast_paths:_equivalent": (CQL, "tests/compiler/test_fast_paths_of_cql.py"),
    "fhir_eligibility.compiler.emit.fast_paths:_ordered": (CQL, "tests/compiler/test_fast_paths_of_cql.py"),
    # forms that differ in their codes alone
    "fhir_eligibility.compiler.criteria.alike:alike": ("tests/compiler/test_compile_cost.py",),
    # retrieves by code
    "fhir_eligibility.compiler.analysis.simplify:push_codes": (FHIRPATH,),
    "fhir_eligibility.compiler.analysis.simplify:combine_unions": (FHIRPATH,),
    "fhir_eligibility.compiler.runtime.fhir_values:plainly_coded": (CQL, "tests/paths/test_fast_paths.py", "tests/compiler/test_fast_paths_of_cql.py"),
    "fhir_eligibility.evaluation.tracing:PatientEnvironment._plainly": (FHIRPATH, "tests/paths/test_fast_paths.py"),
    # which worlds are tried
    "fhir_eligibility.compiler.analysis.monotonicity:fhirpath_monotonicity": (FHIRPATH, "tests/paths/test_known_differences.py"),
    "fhir_eligibility.compiler.analysis.simplify:by_number": (FHIRPATH,),
    "fhir_eligibility.compiler.analysis.monotonicity:MonotonicityFinder": (CQL, "tests/evaluation/test_doubts.py", "tests/paths/test_known_differences.py"),
    # what is read of files
    "fhir_eligibility.compiler.analysis.requirements:requirements": (FHIRPATH, "tests/paths/test_node_kinds.py"),
    "fhir_eligibility.compiler.analysis.uses:uses_of": (CQL, "tests/paths/test_node_kinds.py"),
    "fhir_eligibility.compiler.criteria.reading:_certified": (FHIRPATH, RUNS, "tests/data/test_exports.py"),
    "fhir_eligibility.data.bulk.needles:Needles": (FHIRPATH, CQL, RUNS, "tests/data/test_scanning.py", "tests/data/test_codings_without_code.py"),
    "fhir_eligibility.data.bulk.sifting:Sifter.takes": ("tests/runners/test_since.py",),
    "fhir_eligibility.data.bulk.block_digests:BlockDigests": ("tests/data/test_block_digests.py", "tests/runners/test_since_blocks.py"),
    "fhir_eligibility.data.bulk.tracing:BlockTrace.takes_document": ("tests/runners/test_since.py", "tests/runners/test_since_blocks.py"),
    "fhir_eligibility.data.bulk.tracing:BlockTrace.lines": ("tests/runners/test_since.py", "tests/runners/test_since_blocks.py"),
    "fhir_eligibility.runners.large.taken_file:TakenFile": ("tests/runners/test_judged_file.py", "tests/runners/test_since_blocks.py"),
    "fhir_eligibility.runners.screening.taking:VerdictCodes": ("tests/runners/test_taking.py", "tests/runners/test_since_blocks.py"),
    "fhir_eligibility.runners.screening.taking:patient_of": ("tests/runners/test_taking.py",),
    "fhir_eligibility.runners.large.untouched:untouched_of": ("tests/runners/test_since.py", "tests/runners/test_since_blocks.py"),
    "fhir_eligibility.data.records.record_shape:oddness_of": ("tests/data/test_damaged_members.py", "tests/data/test_flipped_bytes.py"),
    "fhir_eligibility.data.bulk.scanning:LineScanner.uniform": (FHIRPATH, RUNS, "tests/data/test_scanning.py"),
    "fhir_eligibility.data.bulk.documents:_bundle_in": ("tests/data/test_bundle_entries.py", RUNS),
    "fhir_eligibility.data.bulk.documents:_entries": ("tests/data/test_bundle_entries.py", RUNS),
    "fhir_eligibility.data.bulk.documents:_Sorted.take": ("tests/data/test_bundle_entries.py", RUNS),
    "fhir_eligibility.data.bulk.documents:_are_misnamed": ("tests/data/test_misnamed_entries.py",),
    "fhir_eligibility.data.records.identity:is_of_another_type": ("tests/data/test_misnamed_entries.py",),
    "fhir_eligibility.data.bulk.instances:gather": (FHIRPATH, RUNS, "tests/imaging/test_manifest.py"),
    # dates and numbers
    "fhir_eligibility.algebra.temporal.values:compare": ("tests/algebra/test_fast_paths_of_moments.py",),
    "fhir_eligibility.algebra.temporal.recorded:read": ("tests/algebra/test_fast_paths_of_moments.py",),
    "fhir_eligibility.algebra.temporal.between:order": ("tests/compiler/test_fast_paths_of_cql.py",),
    "fhir_eligibility.algebra.values.quantity:compare": ("tests/algebra/test_fast_paths_of_moments.py",),
    "fhir_eligibility.algebra.operators.lookup:Lookup": ("tests/algebra/test_limits.py", FHIRPATH),
}  # fmt: skip
