"""Text to a syntax tree, for FHIRPath and CQL: tokens, parsers, the classes of their nodes.

May not know: types, models, patients.
Start with `nodes.py`, then `cql_nodes.py`; `fhirpath.py` and `cql.py` are the parsers.
"""
