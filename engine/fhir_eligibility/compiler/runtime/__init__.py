"""What emitted code calls while it runs: conversions of values in JSON, retrieves, references, membership in value sets.

May not know: how code is emitted, and what a criterion is.
Start with `names.py`, then `runtime.py` and `cql.py`.
"""
