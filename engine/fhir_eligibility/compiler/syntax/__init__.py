"""Text to a syntax tree, for FHIRPath and CQL: tokens, parsers, the classes of their nodes.

Knows nothing of types, models or patients. Start reading at `nodes`, then `cql_nodes`; `fhirpath` and `cql` are the parsers.
"""
