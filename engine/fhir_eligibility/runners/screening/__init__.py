"""A cohort screened: criteria loaded, patients judged, outputs written, an earlier run taken over.

May not know: the command line.
Start with `screening.py` (patients one by one) and `run.py` (a folder of outputs).
"""
