"""Values, and what can be done to them: System types, temporal values, quantities (UCUM), intervals, codes, three-valued logic, and every operator.

May not know: FHIR artifacts, languages, patients, files. It imports nothing of the package, and an unknown answer is None.
Start with `reasons.py` and `diagnostic.py`, then `operators/registry.py` and one chapter of `operators/`, such as `operators/comparison.py`.
"""
