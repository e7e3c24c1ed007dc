"""What emitted code calls while it runs: conversions of values in JSON, retrieves, references, membership in value sets.

Knows nothing of how code is emitted. Start reading at `runtime` and `cql`.
"""
