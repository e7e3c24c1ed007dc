"""Value sets and code systems: which codes a value set has in the version that was asked for.

May not know: patients, criteria.
Start with `value_sets.py`, then `expanding.py`.
"""
