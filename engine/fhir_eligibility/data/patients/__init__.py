"""Records to patients, by one rule of who a record belongs to, and what may be missing of them.

May not know: criteria, verdicts.
Start with `reader.py` and `cohort.py`, then `completeness.py`.
"""
