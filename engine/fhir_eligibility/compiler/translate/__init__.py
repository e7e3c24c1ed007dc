"""Syntax trees to the typed tree: what names mean, which overload an operator is, how values are converted.

May not know: emitted code, patients.
Start with `fhirpath.py` and `cql_library.py`.
"""
