"""Every fast path, and the tests that hold it to the slow way. `test_fast_paths` checks that both are there.

The ways tests go over generated criteria and patients with holes; the others hold a fast path by itself to what it stands for, over data of any shape.
"""

from __future__ import annotations

FHIRPATH, CQL, RUNS = "tests/paths/test_fhirpath_ways.py", "tests/paths/test_cql_ways.py", "tests/paths/test_runs.py"

FAST_PATHS: dict[str, tuple[str, ...]] = {
    # null checks left out
    "engine.compiler.emitter:Emitter.nullable": (FHIRPATH, "tests/paths/test_node_kinds.py", "tests/paths/test_operator_traits.py"),
    "engine.compiler.cql.emitter:CqlEmitter.nullable": (CQL, "tests/paths/test_operator_traits.py"),
    "engine.compiler.cql.emitter:CqlEmitter.solid_elements": (CQL,),
    # early exit, values used again
    "engine.compiler.emitter:Emitter.leave_at_first": (FHIRPATH, "tests/paths/test_known_differences.py"),
    "engine.compiler.cql.emitter:CqlEmitter.first_of": (CQL,),
    "engine.compiler.reuse:Reuse": (FHIRPATH, CQL, "tests/unit/test_reuse.py"),
    # tests of text and types in place
    "engine.compiler.emit_filters:_text_asked": (FHIRPATH, "tests/unit/test_short_ways_fhirpath.py"),
    "engine.compiler.cql.short_ways:texts_of": (CQL, "tests/unit/test_short_ways_cql.py"),
    "engine.compiler.cql.emit_short:of_choice": (CQL, "tests/unit/test_short_ways_cql.py"),
    "engine.compiler.cql.emit_short:is_of": (CQL, "tests/unit/test_short_ways_cql.py"),
    "engine.compiler.cql.emit_short:_equivalent": (CQL, "tests/unit/test_short_ways_cql.py"),
    "engine.compiler.cql.emit_short:_ordered": (CQL, "tests/unit/test_short_ways_cql.py"),
    # retrieves by code
    "engine.compiler.simplify:push_codes": (FHIRPATH,),
    "engine.compiler.simplify:combine_unions": (FHIRPATH,),
    "engine.compiler.cql.fhir_values:plainly_coded": (CQL, "tests/paths/test_fast_paths.py", "tests/unit/test_short_ways_cql.py"),
    "engine.evaluation.tracing:PatientEnvironment._plainly": (FHIRPATH, "tests/paths/test_fast_paths.py"),
    # which worlds are tried
    "engine.compiler.growth:fhirpath_growths": (FHIRPATH, "tests/paths/test_known_differences.py"),
    "engine.compiler.simplify:by_number": (FHIRPATH,),
    "engine.compiler.growth:GrowthFinder": (CQL, "tests/unit/test_doubts.py", "tests/paths/test_known_differences.py"),
    # what is read of files
    "engine.compiler.requirements:requirements": (FHIRPATH, "tests/paths/test_node_kinds.py"),
    "engine.compiler.cql.uses:uses_of": (CQL, "tests/paths/test_node_kinds.py"),
    "engine.compiler.reading:_certified": (FHIRPATH, RUNS, "tests/unit/test_exports.py"),
    "engine.data.bulk.needles:Needles": (FHIRPATH, CQL, RUNS, "tests/unit/test_scanning.py", "tests/data/test_codings_without_code.py"),
    "engine.data.bulk.needles:may_lack_codes": ("tests/data/test_codings_without_code.py",),
    "engine.data.bulk.sifting:Sifter.takes": ("tests/runners/test_since.py",),
    "engine.data.record_shape:oddness_of": ("tests/data/test_damaged_members.py", "tests/data/test_flipped_bytes.py"),
    "engine.data.bulk.scanning:LineScanner.uniform": (FHIRPATH, RUNS, "tests/unit/test_scanning.py"),
    "engine.data.bulk.documents:_bundle_in": ("tests/unit/test_bundle_entries.py", RUNS),
    "engine.data.bulk.documents:_entries": ("tests/unit/test_bundle_entries.py", RUNS),
    "engine.data.bulk.instances:gather": (FHIRPATH, RUNS, "tests/imaging/test_manifest.py"),
    # dates and numbers
    "engine.algebra.temporal.values:compare": ("tests/unit/test_short_ways.py",),
    "engine.algebra.temporal.recorded:read": ("tests/unit/test_short_ways.py",),
    "engine.algebra.temporal.between:order": ("tests/unit/test_short_ways_cql.py",),
    "engine.algebra.quantity:compare": ("tests/unit/test_short_ways.py",),
    "engine.algebra.operators.lookup:Lookup": ("tests/unit/test_limits.py", FHIRPATH),
}  # fmt: skip
