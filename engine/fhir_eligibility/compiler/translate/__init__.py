"""From syntax trees to the typed tree: what names mean, which overload an operator is, how values are converted.

Knows nothing of emitted code. Start reading at `fhirpath` and `cql_library`.
"""
