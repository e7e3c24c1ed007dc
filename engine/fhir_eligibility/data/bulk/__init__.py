"""Large exports: NDJSON and bundles in pieces, sorted into buckets of patients on disk without decoding what is not needed.

May not know: criteria beyond what they read (types, elements, codes), verdicts. Fast paths here are held to `data/patients/reader.py` by tests in tests/paths.
Start with `reading.py` (what drives), then `scanning.py` (lines) and `grouping.py` (patients).
"""
